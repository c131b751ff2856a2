package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/same"
)

// partStrategy updates one part of a pod: all else is put back first.
type partStrategy struct {
	rest.RESTUpdateStrategy
	take     func(now, sent *corev1.Pod) // copies the part from what was sent
	validate func(now, old *corev1.Pod) field.ErrorList
	reset    *fieldpath.Set
}

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s partStrategy) PrepareForUpdate(_ context.Context, o, oldObj runtime.Object) {
	sent, old := o.(*corev1.Pod), oldObj.(*corev1.Pod)
	now := old.DeepCopy()
	// what the update is checked and attributed by stays as sent
	now.ResourceVersion, now.UID, now.ManagedFields = sent.ResourceVersion, sent.UID, sent.ManagedFields
	s.take(now, sent)
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

// GetResetFields implements rest.ResetFieldsStrategy.
func (s partStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{"v1": s.reset}
}

func partEndpoint(main *registry.Store, s partStrategy) rest.Storage {
	store := *main
	s.RESTUpdateStrategy = main.UpdateStrategy
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	return resource.NewUpdateEndpoint(&store)
}

// newEphemeralEndpoint serves pods/NAME/ephemeralcontainers.
func newEphemeralEndpoint(main *registry.Store) rest.Storage {
	all := fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status"), fieldpath.MakePathOrDie("metadata"))
	return partEndpoint(main, partStrategy{
		take: func(now, sent *corev1.Pod) {
			now.Spec.EphemeralContainers = sent.Spec.EphemeralContainers
			podspec.Drop(&now.Spec, nil)
		},
		validate: podspec.ValidateEphemeralUpdate,
		reset:    all.Difference(fieldpath.NewSet(fieldpath.MakePathOrDie("spec", "ephemeralContainers"))),
	})
}

// newResizeEndpoint serves pods/NAME/resize.
func newResizeEndpoint(main *registry.Store) rest.Storage {
	return partEndpoint(main, partStrategy{
		take: func(now, sent *corev1.Pod) {
			takeResources(now.Spec.Containers, sent.Spec.Containers)
			takeResources(now.Spec.InitContainers, sent.Spec.InitContainers)
		},
		validate: podspec.ValidateResize,
		reset:    fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	})
}

// takeResources copies resources and their resize policy, container by container.
func takeResources(now, sent []corev1.Container) {
	if len(now) != len(sent) {
		return
	}
	for i := range now {
		if now[i].Name == sent[i].Name {
			now[i].Resources, now[i].ResizePolicy = sent[i].Resources, sent[i].ResizePolicy
		}
	}
}
