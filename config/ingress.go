package config

import (
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Ingress is how a node serves Ingresses of class "skiff".
type Ingress struct {
	Enabled   bool
	HTTPPort  int    // port for HTTP; 0 is none
	HTTPSPort int    // port for HTTP over TLS; 0 is none
	BodyLimit string // longest body of a request, as a quantity of bytes; "0" is without limit
	AccessLog bool   // a line in the log for each request

	// ChosenHTTP and ChosenHTTPS say that the port was given and is not the default: without it no server starts.
	ChosenHTTP, ChosenHTTPS bool
}

// DefaultIngress answers what a server does that is told nothing.
func DefaultIngress() Ingress {
	return Ingress{Enabled: true, HTTPPort: 80, HTTPSPort: 443, BodyLimit: "0"}
}

// ServesIngress reports whether this server's node serves Ingresses.
func (c *Config) ServesIngress() bool { return c.Ingress.Enabled && !c.NoNode && !c.APIOnly }

// IngressHost is the address that Ingresses are served at; "" is all of the host.
func (c *Config) IngressHost() string {
	if a, err := netip.ParseAddr(c.BindAddress); err == nil && a.IsUnspecified() {
		return ""
	}
	return c.BindAddress
}

// IngressBodyLimit answers BodyLimit in bytes. The configuration must be valid.
func (c *Config) IngressBodyLimit() int64 {
	q := resource.MustParse(c.Ingress.BodyLimit)
	return q.Value()
}

func (c *Config) validateIngress() error {
	in := c.Ingress
	for _, p := range []struct {
		key  string
		port int
	}{{"ingress-http-port", in.HTTPPort}, {"ingress-https-port", in.HTTPSPort}} {
		if p.port < 0 || p.port > 65535 {
			return &Error{p.key, fmt.Sprintf("%d is not a port", p.port), "give a number from 1 to 65535, or 0 for none"}
		}
		if c.ServesIngress() && p.port != 0 && (p.port == c.Port || p.port == c.KubeletPort) {
			return &Error{p.key, fmt.Sprintf("%d is the port of the API or the kubelet", p.port), "give the ingress a port of its own, or 0 for none"}
		}
	}
	if c.ServesIngress() && in.HTTPPort != 0 && in.HTTPPort == in.HTTPSPort {
		return &Error{"ingress-https-port", fmt.Sprintf("%d is the port for HTTP", in.HTTPSPort), "give TLS a port of its own, or 0 for none"}
	}
	if q, err := resource.ParseQuantity(in.BodyLimit); err != nil || q.Value() < 0 {
		return &Error{"ingress-body-limit", fmt.Sprintf("%q is not a size", in.BodyLimit), "give a number of bytes such as 8Mi, or 0 for no limit"}
	}
	return nil
}
