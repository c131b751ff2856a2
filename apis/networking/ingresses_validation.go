package networking

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const classAnnotation = "kubernetes.io/ingress.class"

func validateIngress(_ context.Context, obj, old *networkingv1.Ingress) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), obj.Spec
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(at, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, validateBackend(s.DefaultBackend, at.Child("defaultBackend"))...)
	}
	for i, r := range s.Rules {
		errs = append(errs, validateRule(r, at.Child("rules").Index(i))...)
	}
	errs = append(errs, validateTLS(s.TLS, at.Child("tls"))...)
	if s.IngressClassName != nil {
		errs = append(errs, validate.All(at.Child("ingressClassName"), *s.IngressClassName, validation.NameIsDNSSubdomain(*s.IngressClassName, false))...)
	}
	if class, ok := obj.Annotations[classAnnotation]; ok && old == nil && s.IngressClassName != nil {
		annotation := field.NewPath("annotations").Child(classAnnotation)
		errs = append(errs, field.Invalid(annotation, class, "must match `ingressClassName` when both are specified"))
	}
	return errs
}

func validateRule(r networkingv1.IngressRule, at *field.Path) (errs field.ErrorList) {
	if r.Host != "" {
		if _, err := netip.ParseAddr(r.Host); err == nil {
			errs = append(errs, field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, validateHost(r.Host, at.Child("host"))...)
	}
	if r.HTTP == nil {
		return errs
	}
	paths := at.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(paths, ""))
	}
	for i := range r.HTTP.Paths {
		errs = append(errs, validatePath(&r.HTTP.Paths[i], paths.Index(i))...)
	}
	return errs
}

func validateHost(host string, at *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return validate.All(at, host, utilvalidation.IsWildcardDNS1123Subdomain(host))
	}
	return validate.All(at, host, utilvalidation.IsDNS1123Subdomain(host))
}

func validatePath(p *networkingv1.HTTPIngressPath, at *field.Path) (errs field.ErrorList) {
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	here, absolute := at.Child("path"), strings.HasPrefix(p.Path, "/")
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !absolute {
			errs = append(errs, field.Invalid(here, p.Path, "must be an absolute path"))
		}
		errs = append(errs, validatePathText(p.Path, here)...)
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !absolute {
			errs = append(errs, field.Invalid(here, p.Path, "must be an absolute path"))
		}
	default:
		errs = append(errs, validate.Enum(*p.PathType, at.Child("pathType"), networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)...)
	}
	return append(errs, validateBackend(&p.Backend, at.Child("backend"))...)
}

func validatePathText(text string, at *field.Path) (errs field.ErrorList) {
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(text, part) {
			errs = append(errs, field.Invalid(at, text, fmt.Sprintf("must not contain '%s'", part)))
		}
	}
	for _, end := range []string{"/..", "/."} {
		if strings.HasSuffix(text, end) {
			errs = append(errs, field.Invalid(at, text, fmt.Sprintf("cannot end with '%s'", end)))
		}
	}
	return errs
}

func validateBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateLocalReference(b.Resource, at.Child("resource"))
	case b.Service != nil:
		return validateServiceBackend(b.Service, at)
	}
	return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
}

func validateServiceBackend(s *networkingv1.IngressServiceBackend, at *field.Path) (errs field.ErrorList) {
	name, port := at.Child("service", "name"), at.Child("service", "port")
	if s.Name == "" {
		errs = append(errs, field.Required(name, ""))
	} else {
		errs = append(errs, validate.DNSLabel(s.Name, name)...)
	}
	switch {
	case s.Port.Name != "" && s.Port.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case s.Port.Name != "":
		errs = append(errs, validate.All(port.Child("name"), s.Port.Name, utilvalidation.IsValidPortName(s.Port.Name))...)
	case s.Port.Number != 0:
		errs = append(errs, validate.Port(s.Port.Number, port.Child("number"))...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

func validateLocalReference(r *corev1.TypedLocalObjectReference, at *field.Path) (errs field.ErrorList) {
	if r.APIGroup != nil {
		errs = append(errs, validate.DNSSubdomain(*r.APIGroup, at.Child("apiGroup"))...)
	}
	errs = append(errs, validateSegment(r.Kind, at.Child("kind"))...)
	return append(errs, validateSegment(r.Name, at.Child("name"))...)
}

// validateSegment checks a required text that becomes a part of a URL's path.
func validateSegment(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return validate.All(at, value, path.ValidatePathSegmentName(value, false))
}

func validateTLS(list []networkingv1.IngressTLS, at *field.Path) (errs field.ErrorList) {
	for i, t := range list {
		for j, host := range t.Hosts {
			errs = append(errs, validateHost(host, at.Index(i).Child("hosts").Index(j))...)
		}
		if t.SecretName != "" {
			errs = append(errs, validate.DNSSubdomain(t.SecretName, at.Index(i).Child("secretName"))...)
		}
	}
	return errs
}

func validateLoadBalancer(points, old []networkingv1.IngressLoadBalancerIngress, at *field.Path) (errs field.ErrorList) {
	var known []string
	for _, p := range old {
		known = append(known, p.IP)
	}
	for i, p := range points {
		here := at.Child("ingress").Index(i)
		if p.IP != "" {
			errs = append(errs, utilvalidation.IsValidIPForLegacyField(here.Child("ip"), p.IP, true, known)...)
		}
		if p.Hostname == "" {
			continue
		}
		errs = append(errs, validate.DNSSubdomain(p.Hostname, here.Child("hostname"))...)
		if _, err := netip.ParseAddr(p.Hostname); err == nil {
			errs = append(errs, field.Invalid(here.Child("hostname"), p.Hostname, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}
