// Package storageclass gives a claim without a class the default storage class.
package storageclass

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/storage/v1"

	"skiff/internal/defaultclass"
)

// Name is the plugin's name in upstream's configuration.
const Name = "DefaultStorageClass"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	classes listers.StorageClassLister
}

var _ admission.MutationInterface = (*Plugin)(nil)

// New registers the storage class informer.
func New(i informers.SharedInformerFactory) *Plugin {
	classes := i.Storage().V1().StorageClasses()
	p := &Plugin{admission.NewHandler(admission.Create), classes.Lister()}
	p.SetReadyFunc(classes.Informer().HasSynced)
	return p
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	if !ok || a.GetSubresource() != "" || claim.Spec.StorageClassName != nil {
		return nil
	}
	if _, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return nil
	}
	classes, err := p.classes.List(labels.Everything())
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if class := defaultclass.Of(classes); class != nil {
		claim.Spec.StorageClassName = &class.Name
	}
	return nil
}
