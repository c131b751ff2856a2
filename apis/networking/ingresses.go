package networking

import (
	"context"
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
)

func ingresses() resource.Definition[*networkingv1.Ingress] {
	type I = *networkingv1.Ingress
	return resource.Definition[I]{
		Resource:       group.WithResource("ingresses"),
		Kind:           "Ingress",
		Singular:       "ingress",
		ShortNames:     []string{"ing"},
		Object:         &networkingv1.Ingress{},
		List:           &networkingv1.IngressList{},
		Register:       register,
		Name:           validation.NameIsDNSSubdomain,
		Validate:       validateIngress,
		Warn:           warnIngress,
		Spec:           func(i I) any { return &i.Spec },
		Status:         func(i I) any { return &i.Status },
		ValidateStatus: validateIngressStatus,
		WarnStatus: func(_ context.Context, o, _ I) (out []string) {
			for i, in := range o.Status.LoadBalancer.Ingress {
				if in.IP != "" {
					out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), in.IP)...)
				}
			}
			return out
		},
		Columns: []resource.Column[I]{
			{Name: "Class", Type: "string", Help: "The name of the IngressClass resource that should be used for additional configuration", Value: func(i I) any {
				if i.Spec.IngressClassName == nil {
					return "<none>"
				}
				return *i.Spec.IngressClassName
			}},
			{Name: "Hosts", Type: "string", Help: "Hosts that incoming requests are matched against before the ingress rule", Value: func(i I) any { return hostsOf(i.Spec.Rules) }},
			{Name: "Address", Type: "string", Help: "Address is a list containing ingress points for the load-balancer", Value: func(i I) any { return addressOf(i.Status.LoadBalancer.Ingress) }},
			{Name: "Ports", Type: "string", Help: "Ports of TLS configurations that open", Value: func(i I) any {
				if len(i.Spec.TLS) > 0 {
					return "80, 443"
				}
				return "80"
			}},
		},
	}
}

// validateIngressStatus checks what a load balancer reports of itself.
func validateIngressStatus(_ context.Context, obj, old *networkingv1.Ingress) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	return append(errs, validateLoadBalancer(obj.Status.LoadBalancer.Ingress, old.Status.LoadBalancer.Ingress, field.NewPath("status", "loadBalancer"))...)
}

func hostsOf(rules []networkingv1.IngressRule) string {
	const shown = 3
	var list []string
	more := false
	for _, r := range rules {
		more = more || len(list) == shown
		if !more && r.Host != "" {
			list = append(list, r.Host)
		}
	}
	switch {
	case len(list) == 0:
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", strings.Join(list, ","), len(rules)-shown)
	}
	return strings.Join(list, ",")
}

func addressOf(points []networkingv1.IngressLoadBalancerIngress) string {
	var list []string
	for _, p := range points {
		switch {
		case p.IP != "":
			list = append(list, p.IP)
		case p.Hostname != "":
			list = append(list, p.Hostname)
		}
	}
	return strings.Join(list, ",")
}

func warnIngress(_ context.Context, i, old *networkingv1.Ingress) []string {
	if _, ok := i.Annotations[classAnnotation]; ok && old == nil && i.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
	}
	return nil
}
