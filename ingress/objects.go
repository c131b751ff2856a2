package ingress

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Service implements route.Objects.
func (o objects) Service(n types.NamespacedName) *corev1.Service {
	s, err := o.services.Services(n.Namespace).Get(n.Name)
	if err != nil {
		return nil
	}
	return s
}

// Slices implements route.Objects.
func (o objects) Slices(n types.NamespacedName) []*discoveryv1.EndpointSlice {
	all, err := o.slices.EndpointSlices(n.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: n.Name}))
	if err != nil {
		return nil
	}
	return all
}

// Secret implements route.Objects.
func (o objects) Secret(n types.NamespacedName) *corev1.Secret {
	s, err := o.secrets.Secrets(n.Namespace).Get(n.Name)
	if err != nil {
		return nil
	}
	return s
}

// legacyClass named a class before spec.ingressClassName did.
const legacyClass = "kubernetes.io/ingress.class"

// ours reports whether an Ingress is of a class that this controller serves. One of no class isn't.
func (i *Ingress) ours(in *networkingv1.Ingress) bool {
	name := in.Annotations[legacyClass]
	if in.Spec.IngressClassName != nil {
		name = *in.Spec.IngressClassName
	}
	if name == "" {
		return false
	}
	class, err := i.classes.Get(name)
	return err == nil && class.Spec.Controller == Controller
}

// served are the Ingresses of the classes that this controller serves.
func (i *Ingress) served() ([]*networkingv1.Ingress, error) {
	all, err := i.ingresses.List(labels.Everything())
	if err != nil {
		return nil, err //nolint:wrapcheck // a cache has no errors
	}
	var out []*networkingv1.Ingress
	for _, in := range all {
		if i.ours(in) && in.DeletionTimestamp == nil {
			out = append(out, in)
		}
	}
	return out, nil
}
