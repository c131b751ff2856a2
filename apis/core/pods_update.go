package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/same"
)

// partStrategy updates one part of a pod: all else is put back first.
type partStrategy struct {
	resource.Part
	take     func(now, sent *corev1.Pod) // copies the part from what was sent
	validate func(now, old *corev1.Pod) field.ErrorList
}

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s partStrategy) PrepareForUpdate(_ context.Context, o, oldObj runtime.Object) {
	sent, old := o.(*corev1.Pod), oldObj.(*corev1.Pod)
	now := old.DeepCopy()
	// what the update is checked and attributed by stays as sent
	now.ResourceVersion, now.UID, now.ManagedFields = sent.ResourceVersion, sent.UID, sent.ManagedFields
	s.take(now, sent)
	podspec.Drop(&now.Spec, &old.Spec)
	if !same.Meaning(&now.Spec, &old.Spec) {
		now.Generation = old.Generation + 1
	}
	*sent = *now
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s partStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return s.validate(o.(*corev1.Pod), old.(*corev1.Pod))
}

// WarningsOnUpdate implements rest.RESTUpdateStrategy.
func (s partStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// partEndpoint serves a part of a pod. It has no fields to reset, as its store
// would say: all that was sent counts as the sender's.
type partEndpoint struct{ patchable }

type patchable interface {
	rest.Storage
	rest.Patcher
	rest.TableConvertor
}

func newPartEndpoint(main *registry.Store, s partStrategy) rest.Storage {
	store := *main
	s.Part = resource.NewPart(main.UpdateStrategy)
	store.UpdateStrategy = s
	return partEndpoint{resource.NewUpdateEndpoint(&store)}
}

// newEphemeralEndpoint serves pods/NAME/ephemeralcontainers.
func newEphemeralEndpoint(main *registry.Store) rest.Storage {
	return newPartEndpoint(main, partStrategy{
		take:     func(now, sent *corev1.Pod) { now.Spec.EphemeralContainers = sent.Spec.EphemeralContainers },
		validate: podspec.ValidateEphemeralUpdate,
	})
}

// newResizeEndpoint serves pods/NAME/resize.
func newResizeEndpoint(main *registry.Store) rest.Storage {
	return newPartEndpoint(main, partStrategy{
		take:     func(now, sent *corev1.Pod) { podspec.TakeResources(&now.Spec, &sent.Spec) },
		validate: podspec.ValidateResize,
	})
}
