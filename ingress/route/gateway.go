package route

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Gateways is what there is of the Gateway API. The zero value is nothing.
type Gateways struct {
	// HTTPPort and HTTPSPort are the ports that a listener may have.
	HTTPPort, HTTPSPort int
	// Gateways are those of classes that are served.
	Gateways []*Gateway
	Routes   []*HTTPRoute
	Grants   []*ReferenceGrant
	// Labels answers the labels of a namespace.
	Labels func(namespace string) labels.Set
}

// GatewayResult is what became of a Gateway.
type GatewayResult struct {
	*Gateway

	Accepted, Programmed metav1.Condition
	Listeners            []ListenerResult
}

// ListenerResult is what became of a listener, in the order of the Gateway's.
type ListenerResult struct {
	Name       string
	Attached   int // routes
	Kinds      bool
	Conditions []metav1.Condition
}

// RouteResult is what became of an HTTPRoute at one of the Gateways that are served.
type RouteResult struct {
	*HTTPRoute

	Parent     ObjectRef
	Conditions []metav1.Condition
}

// The protocols of listeners that are served.
const (
	protocolHTTP  = "HTTP"
	protocolHTTPS = "HTTPS"
)

func condition(kind string, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// attachment is a listener that routes may attach to.
type attachment struct {
	*GatewayListener

	gateway *Gateway
	result  *ListenerResult
	valid   bool
}

// gateways adds the rules of all HTTPRoutes, the oldest first where two want the same.
func (c *compiler) gateways(g *Gateways) (gateways []GatewayResult, routes []RouteResult) {
	attachments := map[types.NamespacedName][]*attachment{}
	for _, gw := range slices.SortedFunc(slices.Values(g.Gateways), func(a, b *Gateway) int { return older(&a.ObjectMeta, &b.ObjectMeta) }) {
		result := GatewayResult{Gateway: gw, Listeners: make([]ListenerResult, len(gw.Spec.Listeners))}
		good := 0
		for i := range gw.Spec.Listeners {
			at := c.listener(g, gw, &gw.Spec.Listeners[i], &result.Listeners[i])
			attachments[types.NamespacedName{Namespace: gw.Namespace, Name: gw.Name}] = append(attachments[types.NamespacedName{Namespace: gw.Namespace, Name: gw.Name}], at)
			if at.valid {
				good++
				c.table.empty = false
			}
		}
		result.Accepted = condition("Accepted", true, "Accepted", "the gateway is served")
		if good < len(gw.Spec.Listeners) {
			result.Accepted = condition("Accepted", good > 0, "ListenersNotValid", "a listener can't be served: see its conditions")
		}
		result.Programmed = condition("Programmed", good > 0, map[bool]string{true: "Programmed", false: "Invalid"}[good > 0], "")
		gateways = append(gateways, result)
	}
	var all []*candidate
	for _, r := range slices.SortedFunc(slices.Values(g.Routes), func(a, b *HTTPRoute) int { return older(&a.ObjectMeta, &b.ObjectMeta) }) {
		for _, parent := range r.Spec.ParentRefs {
			at := types.NamespacedName{Namespace: deref(parent.Namespace, r.Namespace), Name: parent.Name}
			listeners, known := attachments[at]
			if !known || deref(parent.Kind, "Gateway") != "Gateway" || deref(parent.Group, GatewayGroup) != GatewayGroup {
				continue
			}
			conditions, found := c.attach(g, r, parent, listeners)
			routes = append(routes, RouteResult{r, parent, conditions})
			all = append(all, found...)
		}
	}
	slices.SortStableFunc(all, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(b.method, a.method), cmp.Compare(b.headers, a.headers), cmp.Compare(b.query, a.query))
	})
	for _, r := range all {
		c.add(r.host, true, r.exact, r.path, &Rule{Match: r.match, Target: r.target})
	}
	return gateways, routes
}

func older(a, b *metav1.ObjectMeta) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// listener judges a listener and reads its certificates.
func (c *compiler) listener(g *Gateways, gw *Gateway, l *GatewayListener, result *ListenerResult) *attachment {
	at := &attachment{l, gw, result, true}
	result.Name, result.Kinds = l.Name, true
	accepted := condition("Accepted", true, "Accepted", "")
	resolved := condition("ResolvedRefs", true, "ResolvedRefs", "")
	conflicted := condition("Conflicted", false, "NoConflicts", "")
	switch {
	case l.Protocol != protocolHTTP && l.Protocol != protocolHTTPS:
		accepted = condition("Accepted", false, "UnsupportedProtocol", fmt.Sprintf("protocol %s isn't served: HTTP and HTTPS are", l.Protocol))
	case l.Protocol == protocolHTTP && l.Port != g.HTTPPort, l.Protocol == protocolHTTPS && l.Port != g.HTTPSPort:
		accepted = condition("Accepted", false, "PortUnavailable", fmt.Sprintf("port %d isn't served for %s: HTTP is at %d and HTTPS at %d", l.Port, l.Protocol, g.HTTPPort, g.HTTPSPort))
	}
	for _, other := range gw.Spec.Listeners {
		if other.Name != l.Name && other.Port == l.Port && ParseHost(other.Hostname) == ParseHost(l.Hostname) {
			conflicted = condition("Conflicted", true, "HostnameConflict", fmt.Sprintf("listener %q has the same port and hostname", other.Name))
		}
	}
	if reason, message := c.listenerCertificates(g, gw, l); reason != "" {
		resolved = condition("ResolvedRefs", false, reason, message)
	}
	kinds := l.AllowedRoutes.Kinds
	if len(kinds) > 0 {
		result.Kinds = false
		for _, k := range kinds {
			if k.Kind == "HTTPRoute" && deref(k.Group, GatewayGroup) == GatewayGroup {
				result.Kinds = true
			} else {
				resolved = condition("ResolvedRefs", false, "InvalidRouteKinds", fmt.Sprintf("routes of kind %s aren't served: HTTPRoute is", k.Kind))
			}
		}
	}
	at.valid = accepted.Status == metav1.ConditionTrue && conflicted.Status == metav1.ConditionFalse && (resolved.Status == metav1.ConditionTrue || resolved.Reason == "InvalidRouteKinds" && result.Kinds)
	programmed := condition("Programmed", at.valid, map[bool]string{true: "Programmed", false: "Invalid"}[at.valid], "")
	result.Conditions = []metav1.Condition{accepted, conflicted, programmed, resolved}
	return at
}

// listenerCertificates gives the table a listener's certificates, or answers what is wrong with them.
func (c *compiler) listenerCertificates(g *Gateways, gw *Gateway, l *GatewayListener) (reason, message string) {
	if l.Protocol != protocolHTTPS {
		return "", ""
	}
	if l.TLS == nil || len(l.TLS.CertificateRefs) == 0 || l.TLS.Mode == "Passthrough" {
		return "InvalidCertificateRef", "TLS is terminated here: name a Secret with a certificate"
	}
	for _, ref := range l.TLS.CertificateRefs {
		name := types.NamespacedName{Namespace: deref(ref.Namespace, gw.Namespace), Name: ref.Name}
		if deref(ref.Group, "") != "" || deref(ref.Kind, "Secret") != "Secret" {
			return "InvalidCertificateRef", fmt.Sprintf("%s %q isn't a Secret", deref(ref.Kind, "Secret"), ref.Name)
		}
		if !g.granted("Gateway", gw.Namespace, "Secret", name) {
			return "RefNotPermitted", fmt.Sprintf("no ReferenceGrant in namespace %q lets Gateways of %q use Secret %q", name.Namespace, gw.Namespace, name.Name)
		}
		c.uses[Reference{"Secret", name}] = true
		secret := c.objects.Secret(name)
		if secret == nil {
			return "InvalidCertificateRef", fmt.Sprintf("Secret %s doesn't exist", name)
		}
		cert, err := c.keypairs.read(secret)
		if err != nil {
			return "InvalidCertificateRef", fmt.Sprintf("Secret %s: %s", name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
		names := []string{l.Hostname}
		if l.Hostname == "" && cert.Leaf != nil {
			names = cert.Leaf.DNSNames
		}
		for _, n := range names {
			c.table.certs.add(n, cert)
		}
	}
	return "", ""
}

// granted reports whether objects of a kind in a namespace may name an object.
func (g *Gateways) granted(kind, from, toKind string, to types.NamespacedName) bool {
	if from == to.Namespace {
		return true
	}
	for _, grant := range g.Grants {
		if grant.Namespace != to.Namespace {
			continue
		}
		for _, f := range grant.Spec.From {
			if f.Group != GatewayGroup || f.Kind != kind || f.Namespace != from {
				continue
			}
			for _, t := range grant.Spec.To {
				if t.Group == "" && t.Kind == toKind && (t.Name == nil || *t.Name == "" || *t.Name == to.Name) {
					return true
				}
			}
		}
	}
	return false
}

// allows reports whether routes of a namespace may attach.
func (a *attachment) allows(g *Gateways, namespace string) bool {
	if !a.result.Kinds {
		return false
	}
	switch n := a.AllowedRoutes.Namespaces; n.From {
	case "All":
		return true
	case "Selector":
		selector, err := metav1.LabelSelectorAsSelector(n.Selector)
		return err == nil && g.Labels != nil && selector.Matches(g.Labels(namespace))
	default:
		return namespace == a.gateway.Namespace
	}
}

// hosts answers the hosts at which a route is served at a listener; false if they have none in common.
func (a *attachment) hosts(names []string) ([]string, bool) {
	own := ParseHost(a.Hostname)
	if len(names) == 0 {
		return []string{own}, true
	}
	out := map[string]bool{}
	for _, name := range names {
		name = ParseHost(name)
		switch {
		case own == "", name == own, covers(own, name):
			out[name] = true
		case covers(name, own):
			out[own] = true
		}
	}
	return slices.Sorted(maps.Keys(out)), len(out) > 0
}

// covers reports whether the hosts of a wildcard include all of another name, of which there are more labels.
func covers(wildcard, name string) bool {
	suffix, ok := strings.CutPrefix(wildcard, "*")
	return ok && strings.HasSuffix(strings.TrimPrefix(name, "*"), suffix) && len(strings.TrimPrefix(name, "*")) >= len(suffix) && name != suffix[1:]
}
