package route

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// GatewayGroup is the API group of the kinds below. They are custom resources that users install (the standard channel of
// sigs.k8s.io/gateway-api, v1); the types have the fields that are read.
const GatewayGroup = "gateway.networking.k8s.io"

// GatewayClass names who serves its Gateways.
type GatewayClass struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ControllerName string `json:"controllerName"`
	} `json:"spec"`
}

// Gateway is a set of listeners.
type Gateway struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		GatewayClassName string            `json:"gatewayClassName"`
		Listeners        []GatewayListener `json:"listeners"`
	} `json:"spec"`
}

// GatewayListener is a port and a host that routes attach to.
type GatewayListener struct {
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
	TLS      *struct {
		Mode            string      `json:"mode"`
		CertificateRefs []ObjectRef `json:"certificateRefs"`
	} `json:"tls"`
	AllowedRoutes struct {
		Namespaces struct {
			From     string                `json:"from"`
			Selector *metav1.LabelSelector `json:"selector"`
		} `json:"namespaces"`
		Kinds []struct {
			Group *string `json:"group"`
			Kind  string  `json:"kind"`
		} `json:"kinds"`
	} `json:"allowedRoutes"`
}

// ObjectRef names an object. What it leaves out depends on where it stands.
type ObjectRef struct {
	Group       *string `json:"group"`
	Kind        *string `json:"kind"`
	Namespace   *string `json:"namespace"`
	Name        string  `json:"name"`
	SectionName *string `json:"sectionName"`
	Port        *int    `json:"port"`
	Weight      *int    `json:"weight"`
	// Filters of a backend.
	Filters []HTTPFilter `json:"filters"`
}

// HTTPRoute sends requests to Services.
type HTTPRoute struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ParentRefs []ObjectRef `json:"parentRefs"`
		Hostnames  []string    `json:"hostnames"`
		Rules      []HTTPRule  `json:"rules"`
	} `json:"spec"`
}

// HTTPRule is what requests match, and what is done with them.
type HTTPRule struct {
	Matches     []HTTPMatch  `json:"matches"`
	Filters     []HTTPFilter `json:"filters"`
	BackendRefs []ObjectRef  `json:"backendRefs"`
	Timeouts    struct {
		Request        string `json:"request"`
		BackendRequest string `json:"backendRequest"`
	} `json:"timeouts"`
}

// HTTPMatch is met when all of it is.
type HTTPMatch struct {
	Path *struct {
		Type  string  `json:"type"`
		Value *string `json:"value"`
	} `json:"path"`
	Headers     []NamedMatch `json:"headers"`
	QueryParams []NamedMatch `json:"queryParams"`
	Method      string       `json:"method"`
}

// NamedMatch is about a header or a query parameter.
type NamedMatch struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HTTPFilter changes requests or answers.
type HTTPFilter struct {
	Type                   string        `json:"type"`
	RequestHeaderModifier  *HeaderChange `json:"requestHeaderModifier"`
	ResponseHeaderModifier *HeaderChange `json:"responseHeaderModifier"`
	RequestRedirect        *Redirect     `json:"requestRedirect"`
	URLRewrite             *Rewrite      `json:"urlRewrite"`
}

// HeaderChange sets, adds and removes headers.
type HeaderChange struct {
	Set    []NamedMatch `json:"set"`
	Add    []NamedMatch `json:"add"`
	Remove []string     `json:"remove"`
}

// PathChange replaces the whole path or the prefix that was matched.
type PathChange struct {
	Type               string  `json:"type"`
	ReplaceFullPath    *string `json:"replaceFullPath"`
	ReplacePrefixMatch *string `json:"replacePrefixMatch"`
}

// Redirect answers with another URL. What it leaves out is as in the request.
type Redirect struct {
	Scheme     *string     `json:"scheme"`
	Hostname   *string     `json:"hostname"`
	Path       *PathChange `json:"path"`
	Port       *int        `json:"port"`
	StatusCode *int        `json:"statusCode"`
}

// Rewrite changes what the backend is asked for.
type Rewrite struct {
	Hostname *string     `json:"hostname"`
	Path     *PathChange `json:"path"`
}

// ReferenceGrant allows objects of other namespaces to name objects of its own.
type ReferenceGrant struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		From []struct {
			Group     string `json:"group"`
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
		} `json:"from"`
		To []struct {
			Group string  `json:"group"`
			Kind  string  `json:"kind"`
			Name  *string `json:"name"`
		} `json:"to"`
	} `json:"spec"`
}
