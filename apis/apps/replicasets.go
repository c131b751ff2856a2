package apps

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func replicaSets() resource.Definition[*appsv1.ReplicaSet] {
	type R = *appsv1.ReplicaSet
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	scale := resource.Scale[R]{
		Paths:    replicasPath(),
		Replicas: func(r R) *int32 { return r.Spec.Replicas },
		Status: func(r R) (int32, string) {
			return r.Status.Replicas, metav1.FormatLabelSelector(r.Spec.Selector)
		},
	}
	columns := []resource.Column[R]{
		{Name: "Desired", Type: "integer", Help: spec["replicas"], Value: func(r R) any { return int64(*r.Spec.Replicas) }},
		{Name: "Current", Type: "integer", Help: status["replicas"], Value: func(r R) any { return int64(r.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Help: status["readyReplicas"], Value: func(r R) any { return int64(r.Status.ReadyReplicas) }},
		resource.AgeColumn[R](),
	}
	columns = append(columns, containerColumns(func(r R) *corev1.PodTemplateSpec { return &r.Spec.Template })...)
	columns = append(columns, resource.Column[R]{Name: "Selector", Type: "string", Priority: 1, Help: spec["selector"], Value: func(r R) any {
		return metav1.FormatLabelSelector(r.Spec.Selector)
	}})
	return resource.Definition[R]{
		Resource:   group.WithResource("replicasets"),
		Kind:       "ReplicaSet",
		Singular:   "replicaset",
		ShortNames: []string{"rs"},
		Categories: []string{"all"},
		Object:     &appsv1.ReplicaSet{},
		List:       &appsv1.ReplicaSetList{},
		Types:      resource.ScaleTypes(),
		Register:   register,
		Name:       validation.NameIsDNSSubdomain,
		NameOnce:   true,
		Default: func(r R) {
			setTo(&r.Spec.Replicas, 1)
			podspec.SetTemplateDefaults(&r.Spec.Template)
		},
		Prepare: func(_ context.Context, obj, old R) {
			if old == nil {
				prepareTemplate(&obj.Spec.Template, nil)
			} else {
				prepareTemplate(&obj.Spec.Template, &old.Spec.Template)
			}
		},
		Validate: validateReplicaSet,
		Warn: func(_ context.Context, obj, old R) []string {
			return podspec.OwnerWarnings(obj, old, &obj.Spec.Template, field.NewPath("spec", "template"), true)
		},
		Spec:           func(r R) any { return &r.Spec },
		Status:         func(r R) any { return &r.Status },
		ValidateStatus: validateReplicaSetStatus,
		Columns:        columns,
		Subresources:   map[string]func(*registry.Store) rest.Storage{"scale": scale.Endpoint},
	}
}

func validateReplicaSet(_ context.Context, obj, old *appsv1.ReplicaSet) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	w := workload{kind: "deployment", selector: s.Selector, template: &s.Template, badSelector: "invalid label selector"}
	if old != nil {
		w.old = &old.Spec.Template
	}
	errs = append(errs, validate.NonNegative(*s.Replicas, at.Child("replicas"))...)
	errs = append(errs, validate.NonNegative(s.MinReadySeconds, at.Child("minReadySeconds"))...)
	errs = append(errs, w.validateSelector(at.Child("selector"))...)
	errs = append(errs, w.validateMatch(at)...)
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(s.Selector, old.Spec.Selector, at.Child("selector"))...)
	}
	return errs
}

func validateReplicaSetStatus(_ context.Context, obj, old *appsv1.ReplicaSet) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at, s := field.NewPath("status"), obj.Status
	replicas := count{"status.replicas", int64(s.Replicas)}
	labeled, ready, available := count{"fullyLabeledReplicas", int64(s.FullyLabeledReplicas)}, count{"readyReplicas", int64(s.ReadyReplicas)}, count{"availableReplicas", int64(s.AvailableReplicas)}
	errs = append(errs, nonNegative(at, count{"replicas", int64(s.Replicas)}, labeled, ready, available)...)
	errs = append(errs, nonNegative(at, count{"observedGeneration", s.ObservedGeneration})...)
	if s.TerminatingReplicas != nil {
		errs = append(errs, nonNegative(at, count{"terminatingReplicas", int64(*s.TerminatingReplicas)})...)
	}
	errs = append(errs, atMost(at, replicas, labeled, ready, available)...)
	return append(errs, atMost(at, ready, available)...)
}
