package route

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Objects is what Ingresses name. An object that there isn't is nil.
type Objects interface {
	Service(types.NamespacedName) *corev1.Service
	Slices(service types.NamespacedName) []*discoveryv1.EndpointSlice
	Secret(types.NamespacedName) *corev1.Secret
}

// Reference names an object that a table was made from.
type Reference struct {
	Kind string // "Service", whose slices count as it, or "Secret"
	types.NamespacedName
}

// Problem is what keeps a part of an object from being served.
type Problem struct {
	Object  runtime.Object
	Reason  string
	Message string // one line: what, where, how to mend it
}

// The reasons of problems.
const (
	ReasonNoService   = "ServiceNotFound"
	ReasonNoPort      = "ServicePortNotFound"
	ReasonService     = "ServiceNotSupported"
	ReasonResource    = "ResourceBackendNotSupported"
	ReasonNoSecret    = "SecretNotFound"
	ReasonCertificate = "InvalidCertificate"
	ReasonAnnotation  = "InvalidAnnotation"
	ReasonConflict    = "PathConflict"
)

// Compiled is a table and what was found out on the way to it.
type Compiled struct {
	Table *Table
	// Uses is what the table changes with, whether it exists or not.
	Uses     map[Reference]bool
	Problems []Problem
	// Gateways and Routes are what became of those of the Gateway API.
	Gateways []GatewayResult
	Routes   []RouteResult
}

// compiler is one run of Compile.
type compiler struct {
	builder
	objects  Objects
	keypairs *Keypairs
	uses     map[Reference]bool
	problems []Problem
	owners   map[place]*networkingv1.Ingress
	backends map[backendKey]*Backend
}

// place is what two rules can't both have.
type place struct {
	host, path string
	exact      bool
}

type backendKey struct {
	service  types.NamespacedName
	port     string
	protocol Protocol
}

// Compile makes a table of Ingresses, all of which are served. They aren't changed.
func Compile(ingresses []*networkingv1.Ingress, objects Objects, keypairs *Keypairs) Compiled {
	return CompileAll(ingresses, &Gateways{}, objects, keypairs)
}

// CompileAll makes a table of Ingresses and of what there is of the Gateway API. Where both want the same host and path the
// Ingress has it.
func CompileAll(ingresses []*networkingv1.Ingress, gateways *Gateways, objects Objects, keypairs *Keypairs) Compiled {
	keypairs.begin()
	c := &compiler{
		builder: newBuilder(), objects: objects, keypairs: keypairs, uses: map[Reference]bool{},
		owners: map[place]*networkingv1.Ingress{}, backends: map[backendKey]*Backend{},
	}
	for _, in := range slices.SortedFunc(slices.Values(ingresses), byAge) {
		c.ingress(in)
	}
	gatewayResults, routeResults := c.gateways(gateways)
	return Compiled{Table: c.table, Uses: c.uses, Problems: c.problems, Gateways: gatewayResults, Routes: routeResults}
}

// byAge puts the older object first, as the one that was there has the right to a path.
func byAge(a, b *networkingv1.Ingress) int {
	return cmp.Or(
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// scope is an Ingress that is being compiled.
type scope struct {
	*networkingv1.Ingress
	settings

	secured map[string]bool // the names that it lists for TLS
}

func (c *compiler) ingress(in *networkingv1.Ingress) {
	s := &scope{Ingress: in}
	var problems []string
	s.settings, problems = readAnnotations(in.Annotations)
	for _, p := range problems {
		c.problem(in, ReasonAnnotation, p)
	}
	s.secured = c.certificates(in)
	if in.Spec.DefaultBackend != nil {
		target := c.target(s, "", "spec.defaultBackend", in.Spec.DefaultBackend)
		if c.table.empty = false; c.table.fallback == nil {
			c.table.fallback = target
		}
	}
	for i, rule := range in.Spec.Rules {
		if rule.HTTP == nil {
			continue // it says nothing but a host, whose requests go to the default backend
		}
		for j := range rule.HTTP.Paths {
			c.path(s, rule.Host, fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j), &rule.HTTP.Paths[j])
		}
	}
}

// path adds one line of an Ingress.
func (c *compiler) path(s *scope, host, at string, p *networkingv1.HTTPIngressPath) {
	path, exact := p.Path, deref(p.PathType, networkingv1.PathTypeImplementationSpecific) == networkingv1.PathTypeExact
	if !exact && deref(p.PathType, "") != networkingv1.PathTypePrefix {
		// What is specific to this implementation: as Prefix, and a star at the end, as other implementations want it, is none.
		path = strings.TrimSuffix(path, "*")
	}
	if path == "" {
		path = "/"
	}
	key := place{ParseHost(host), path, exact}
	if !exact {
		key.path = prefixKey(path)
	}
	target := c.target(s, host, at, &p.Backend)
	if owner := c.owners[key]; owner != nil {
		if owner != s.Ingress {
			c.problem(s.Ingress, ReasonConflict, fmt.Sprintf("%s: host %q and path %q belong to the older Ingress %s/%s: give another host or path", at, host, path, owner.Namespace, owner.Name))
		}
		return
	}
	c.owners[key] = s.Ingress
	c.add(host, false, exact, path, &Rule{Target: target})
}

// target resolves a backend. One that can't be resolved is still a target, without endpoints, so that its requests don't
// go to a backend of a less specific rule.
func (c *compiler) target(s *scope, host, at string, b *networkingv1.IngressBackend) *Target {
	t := &Target{
		Route: "Ingress " + s.Namespace + "/" + s.Name, Options: s.Options,
		TLS: s.secured[ParseHost(host)] || s.secured["*"+after(ParseHost(host))],
	}
	if b.Service == nil {
		c.problem(s.Ingress, ReasonResource, at+": resource backends aren't served: name a Service")
		t.Backends = []Share{{&Backend{Protocol: HTTP}, 1, nil}}
		return t
	}
	name := types.NamespacedName{Namespace: s.Namespace, Name: b.Service.Name}
	port := b.Service.Port.Name
	if port == "" {
		port = fmt.Sprint(b.Service.Port.Number)
	}
	key := backendKey{name, port, s.protocol}
	if known := c.backends[key]; known != nil {
		t.Backends = []Share{{known, 1, nil}}
		return t
	}
	backend, reason, problem := c.backend(name, b.Service.Port, s.protocol)
	t.Backends = []Share{{backend, 1, nil}}
	if problem != "" {
		c.problem(s.Ingress, reason, at+": "+problem)
		return t // not remembered, so that every Ingress hears of it
	}
	c.backends[key] = backend
	return t
}

func (c *compiler) backend(name types.NamespacedName, at networkingv1.ServiceBackendPort, protocol Protocol) (b *Backend, reason, problem string) {
	c.uses[Reference{"Service", name}] = true
	b = &Backend{Service: name.String() + ":" + cmp.Or(at.Name, fmt.Sprint(at.Number)), Protocol: cmp.Or(protocol, HTTP)}
	svc := c.objects.Service(name)
	switch {
	case svc == nil:
		return b, ReasonNoService, fmt.Sprintf("Service %q doesn't exist in namespace %q: create it or name another", name.Name, name.Namespace)
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return b, ReasonService, fmt.Sprintf("Service %q is an ExternalName, whose endpoints the cluster doesn't know: name a Service with endpoints", name.Name)
	}
	port := servicePort(svc, at.Name, at.Number)
	if port == nil {
		return b, ReasonNoPort, fmt.Sprintf("Service %q has no port %s: name one that it has", name.Name, cmp.Or(at.Name, fmt.Sprint(at.Number)))
	}
	if protocol == "" {
		b.Protocol = protocolOf(port)
	}
	b.Endpoints = endpoints(svc, port, c.objects.Slices(name))
	return b, "", ""
}

// certificates reads the Secrets that an Ingress names, gives the table their certificates, and answers the names that the
// Ingress lists for TLS or, where it lists none, those in the certificate.
func (c *compiler) certificates(in *networkingv1.Ingress) map[string]bool {
	names := map[string]bool{}
	for i, entry := range in.Spec.TLS {
		hosts := entry.Hosts
		cert := c.certificate(in, i, entry.SecretName)
		if len(hosts) == 0 && cert != nil && cert.Leaf != nil {
			hosts = cert.Leaf.DNSNames
		}
		for _, host := range hosts {
			names[ParseHost(host)] = true
			if cert != nil {
				c.table.certs.add(host, cert)
			}
		}
	}
	return names
}

// certificate is nil if the default one serves, or that of another Ingress.
func (c *compiler) certificate(in *networkingv1.Ingress, i int, secretName string) *tls.Certificate {
	if secretName == "" {
		return nil
	}
	name := types.NamespacedName{Namespace: in.Namespace, Name: secretName}
	c.uses[Reference{"Secret", name}] = true
	at := fmt.Sprintf("spec.tls[%d]: Secret %q", i, name.Name)
	secret := c.objects.Secret(name)
	if secret == nil {
		c.problem(in, ReasonNoSecret, fmt.Sprintf("%s doesn't exist in namespace %q, the default certificate is served: create it with `kubectl create secret tls`", at, name.Namespace))
		return nil
	}
	cert, err := c.keypairs.read(secret)
	if err != nil {
		c.problem(in, ReasonCertificate, fmt.Sprintf("%s: %s, the default certificate is served: put a PEM certificate and its key there", at, err))
		return nil
	}
	return cert
}

func (c *compiler) problem(object runtime.Object, reason, message string) {
	c.problems = append(c.problems, Problem{object, reason, strings.ReplaceAll(message, "\n", " ")})
}
