package networking

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

const maxController = 250

func ingressClasses() resource.Definition[*networkingv1.IngressClass] {
	type C = *networkingv1.IngressClass
	return resource.Definition[C]{
		Resource:      group.WithResource("ingressclasses"),
		Kind:          "IngressClass",
		Singular:      "ingressclass",
		ClusterScoped: true,
		Object:        &networkingv1.IngressClass{},
		List:          &networkingv1.IngressClassList{},
		Register:      register,
		Name:          validation.NameIsDNSSubdomain,
		Default: func(c C) {
			if p := c.Spec.Parameters; p != nil && p.Scope == nil {
				scope := networkingv1.IngressClassParametersReferenceScopeCluster
				p.Scope = &scope
			}
		},
		Validate: validateIngressClass,
		Spec:     func(c C) any { return &c.Spec },
		Columns: []resource.Column[C]{
			{Name: "Controller", Type: "string", Help: "Controller that is responsible for handling this class", Value: func(c C) any { return c.Spec.Controller }},
			{Name: "Parameters", Type: "string", Help: "A reference to a resource with additional parameters", Value: func(c C) any { return parametersOf(c) }},
		},
	}
}

func parametersOf(c *networkingv1.IngressClass) string {
	p := c.Spec.Parameters
	if p == nil {
		return "<none>"
	}
	if p.APIGroup != nil {
		return p.Kind + "." + *p.APIGroup + "/" + p.Name
	}
	return p.Kind + "/" + p.Name
}

func validateIngressClass(_ context.Context, obj, old *networkingv1.IngressClass) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(obj.Spec.Controller, old.Spec.Controller, at.Child("controller")).WithOrigin("immutable").MarkCoveredByDeclarative()...)
	}
	if len(obj.Spec.Controller) > maxController {
		errs = append(errs, field.TooLong(at.Child("controller"), "", maxController))
	}
	errs = append(errs, utilvalidation.IsDomainPrefixedPath(at.Child("controller"), obj.Spec.Controller)...)
	if obj.Spec.Parameters != nil {
		errs = append(errs, validateParameters(obj.Spec.Parameters, at.Child("parameters"))...)
	}
	return errs
}

func validateParameters(p *networkingv1.IngressClassParametersReference, at *field.Path) (errs field.ErrorList) {
	if p.APIGroup != nil {
		errs = append(errs, validate.DNSSubdomain(*p.APIGroup, at.Child("apiGroup"))...)
	}
	errs = append(errs, declaredSegment(p.Kind, at.Child("kind"))...)
	errs = append(errs, declaredSegment(p.Name, at.Child("name"))...)
	if p.Scope == nil {
		return append(errs, field.Required(at.Child("scope"), ""))
	}
	namespace := at.Child("namespace")
	const cluster, namespaced = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	errs = append(errs, validate.Enum(*p.Scope, at.Child("scope"), cluster, namespaced)...)
	switch {
	case *p.Scope == namespaced && p.Namespace == nil:
		errs = append(errs, field.Required(namespace, "`parameters.scope` is set to 'Namespace'"))
	case *p.Scope == namespaced:
		errs = append(errs, validate.DNSLabel(*p.Namespace, namespace)...)
	case *p.Scope == cluster && p.Namespace != nil:
		errs = append(errs, field.Forbidden(namespace, "`parameters.scope` is set to 'Cluster'"))
	}
	return errs
}
