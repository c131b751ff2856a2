package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func namespaces() resource.Resource {
	return resource.Definition[*corev1.Namespace]{
		Resource:       corev1.SchemeGroupVersion.WithResource("namespaces"),
		Kind:           "Namespace",
		ReturnDeleted:  true,
		Singular:       "namespace",
		ShortNames:     []string{"ns"},
		ClusterScoped:  true,
		Object:         &corev1.Namespace{},
		List:           &corev1.NamespaceList{},
		Name:           apivalidation.ValidateNamespaceName,
		Default:        labelNamespace,
		Prepare:        prepareNamespace,
		Validate:       validateNamespace,
		Canonicalize:   labelNamespace,
		NoGeneration:   true,
		Spec:           func(n *corev1.Namespace) any { return &n.Spec },
		Status:         func(n *corev1.Namespace) any { return &n.Status },
		ValidateStatus: validateNamespaceStatus,
		Fields: func(n *corev1.Namespace) fields.Set {
			return fields.Set{"status.phase": string(n.Status.Phase)}
		},
		Columns: []resource.Column[*corev1.Namespace]{
			{Name: "Status", Type: "string", Help: "The status of the namespace", Value: func(n *corev1.Namespace) any { return string(n.Status.Phase) }},
		},
		Store: func(s *registry.Store) error {
			s.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
				ns, ok := obj.(*corev1.Namespace)
				return ok && len(ns.Spec.Finalizers) == 0 && registry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
			}
			return nil
		},
		Main: func(e *resource.Endpoint) rest.Storage { return namespaceEndpoint{e} },
		Subresources: map[string]func(*registry.Store) rest.Storage{
			"finalize": newFinalizeEndpoint,
		},
	}
}

// labelNamespace keeps the label that selectors use to find a namespace by name.
func labelNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func prepareNamespace(_ context.Context, obj, old *corev1.Namespace) {
	if old != nil {
		obj.Spec.Finalizers = old.Spec.Finalizers
		return
	}
	obj.Status.Phase = corev1.NamespaceActive
	for _, f := range obj.Spec.Finalizers {
		if f == corev1.FinalizerKubernetes {
			return
		}
	}
	obj.Spec.Finalizers = append(obj.Spec.Finalizers, corev1.FinalizerKubernetes)
}

func validateNamespace(_ context.Context, obj, old *corev1.Namespace) field.ErrorList {
	if old != nil {
		return nil
	}
	path := field.NewPath("spec", "finalizers")
	return validateNamespaceFinalizers(obj, func(int) *field.Path { return path })
}

func validateNamespaceFinalizers(obj *corev1.Namespace, at func(int) *field.Path) (errs field.ErrorList) {
	for i, f := range obj.Spec.Finalizers {
		errs = append(errs, validate.QualifiedName(string(f), at(i))...)
		errs = append(errs, validate.StandardFinalizer(string(f), at(i))...)
	}
	return errs
}

func validateNamespaceStatus(_ context.Context, obj, _ *corev1.Namespace) field.ErrorList {
	path := field.NewPath("status", "Phase")
	switch {
	case obj.DeletionTimestamp.IsZero() && obj.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(path, obj.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case !obj.DeletionTimestamp.IsZero() && obj.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(path, obj.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}
