// Package storageprotection keeps claims and volumes that are in use from
// disappearing: it adds the finalizers that a controller takes away.
package storageprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

const (
	// Name is the plugin's name in upstream's configuration.
	Name = "StorageObjectInUseProtection"

	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
	classFinalizer  = "kubernetes.io/vac-protection"
)

// Plugin is the admission plugin.
type Plugin struct{ *admission.Handler }

var _ admission.MutationInterface = Plugin{}

// New returns the plugin.
func New() Plugin { return Plugin{admission.NewHandler(admission.Create)} }

// Admit implements admission.MutationInterface.
func (Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	switch o := a.GetObject().(type) {
	case *corev1.PersistentVolumeClaim:
		add(o, claimFinalizer)
	case *corev1.PersistentVolume:
		add(o, volumeFinalizer)
	case *storagev1.VolumeAttributesClass:
		add(o, classFinalizer)
	}
	return nil
}

func add(o metav1.Object, finalizer string) {
	if f := o.GetFinalizers(); !slices.Contains(f, finalizer) {
		o.SetFinalizers(append(f, finalizer))
	}
}
