// Package ingressclass gives an ingress without a class the default one.
package ingressclass

import (
	"context"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/networking/v1"
)

const (
	// Name is the plugin's name in upstream's configuration.
	Name = "DefaultIngressClass"

	// legacyClass names a class the old way; such an ingress gets no default.
	legacyClass = "kubernetes.io/ingress.class"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	classes listers.IngressClassLister
}

var _ admission.MutationInterface = (*Plugin)(nil)

// New registers the ingress class informer.
func New(i informers.SharedInformerFactory) *Plugin {
	classes := i.Networking().V1().IngressClasses()
	p := &Plugin{admission.NewHandler(admission.Create), classes.Lister()}
	p.SetReadyFunc(classes.Informer().HasSynced)
	return p
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	ingress, ok := a.GetObject().(*networkingv1.Ingress)
	if !ok || a.GetSubresource() != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, ok := ingress.Annotations[legacyClass]; ok {
		return nil
	}
	classes, err := p.classes.List(labels.Everything())
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if class := byDefault(classes); class != nil {
		ingress.Spec.IngressClassName = &class.Name
	}
	return nil
}

func byDefault(classes []*networkingv1.IngressClass) *networkingv1.IngressClass {
	marked := slices.DeleteFunc(slices.Clone(classes), func(c *networkingv1.IngressClass) bool {
		return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true"
	})
	if len(marked) == 0 {
		return nil
	}
	return slices.MinFunc(marked, func(a, b *networkingv1.IngressClass) int {
		if n := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
}
