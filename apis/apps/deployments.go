package apps

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func deployments() resource.Definition[*appsv1.Deployment] {
	type D = *appsv1.Deployment
	status := appsv1.DeploymentStatus{}.SwaggerDoc()
	scale := resource.Scale[D]{
		Paths:    replicasPath(),
		Replicas: func(d D) *int32 { return d.Spec.Replicas },
		Status: func(d D) (int32, string) {
			return d.Status.Replicas, metav1.FormatLabelSelector(d.Spec.Selector)
		},
	}
	columns := []resource.Column[D]{
		{Name: "Ready", Type: "string", Help: "Number of the pod with ready state", Value: func(d D) any { return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, *d.Spec.Replicas) }},
		{Name: "Up-to-date", Type: "string", Help: status["updatedReplicas"], Value: func(d D) any { return int64(d.Status.UpdatedReplicas) }},
		{Name: "Available", Type: "string", Help: status["availableReplicas"], Value: func(d D) any { return int64(d.Status.AvailableReplicas) }},
		resource.AgeColumn[D](),
	}
	columns = append(columns, containerColumns(func(d D) *corev1.PodTemplateSpec { return &d.Spec.Template })...)
	columns = append(columns, resource.Column[D]{Name: "Selector", Type: "string", Priority: 1, Help: appsv1.DeploymentSpec{}.SwaggerDoc()["selector"], Value: func(d D) any {
		return metav1.FormatLabelSelector(d.Spec.Selector)
	}})
	return resource.Definition[D]{
		Resource:   group.WithResource("deployments"),
		Kind:       "Deployment",
		Singular:   "deployment",
		ShortNames: []string{"deploy"},
		Categories: []string{"all"},
		Object:     &appsv1.Deployment{},
		List:       &appsv1.DeploymentList{},
		Types:      resource.ScaleTypes(),
		Register:   register,
		Name:       validation.NameIsDNSSubdomain,
		NameOnce:   true,
		Default:    defaultDeployment,
		Prepare:    func(_ context.Context, obj, old D) { prepareTemplate(&obj.Spec.Template, templateOf(old)) },
		Validate:   validateDeployment,
		Warn: func(_ context.Context, obj, old D) []string {
			return podspec.OwnerWarnings(obj, old, &obj.Spec.Template, field.NewPath("spec", "template"), true)
		},
		Spec: func(d D) any { return &d.Spec },
		Changed: func(obj, old D) bool {
			return !equality.Semantic.DeepEqual(obj.Spec, old.Spec) || !equality.Semantic.DeepEqual(obj.Annotations, old.Annotations)
		},
		Status:            func(d D) any { return &d.Status },
		PrepareStatus:     func(_ context.Context, obj, old D) { obj.Labels = old.Labels },
		StatusResetFields: []string{"spec", "metadata.labels"},
		ValidateStatus:    validateDeploymentStatus,
		Columns:           columns,
		Subresources:      map[string]func(*registry.Store) rest.Storage{"scale": scale.Endpoint},
	}
}

func templateOf(d *appsv1.Deployment) *corev1.PodTemplateSpec {
	if d == nil {
		return nil
	}
	return &d.Spec.Template
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	setTo(&s.Replicas, 1)
	podspec.SetTemplateDefaults(&s.Template)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		setTo(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setTo(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	setTo(&s.RevisionHistoryLimit, 10)
	setTo(&s.ProgressDeadlineSeconds, 600)
}

func setTo[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}

func validateDeployment(_ context.Context, obj, old *appsv1.Deployment) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	w := workload{kind: "deployment", selector: s.Selector, template: &s.Template, old: templateOf(old), badSelector: "invalid label selector"}
	errs = append(errs, validate.NonNegative(*s.Replicas, at.Child("replicas"))...)
	errs = append(errs, w.validateSelector(at.Child("selector"))...)
	errs = append(errs, w.validateMatch(at)...)
	errs = append(errs, validateStrategy(&s.Strategy, at.Child("strategy"))...)
	errs = append(errs, validate.NonNegative(s.MinReadySeconds, at.Child("minReadySeconds"))...)
	if n := s.RevisionHistoryLimit; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("revisionHistoryLimit"))...)
	}
	if n := s.ProgressDeadlineSeconds; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("progressDeadlineSeconds"))...)
		if *n <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(at.Child("progressDeadlineSeconds"), *n, "must be greater than minReadySeconds"))
		}
	}
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(s.Selector, old.Spec.Selector, at.Child("selector"))...)
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, at *field.Path) (errs field.ErrorList) {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			errs = append(errs, field.Forbidden(at.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'"))
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(at.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		errs = append(errs, validateRolling(s.RollingUpdate, at.Child("rollingUpdate"))...)
	default:
		shown := s.DeepCopy()
		if r := shown.RollingUpdate; r != nil {
			setTo(&r.MaxUnavailable, intstr.IntOrString{})
			setTo(&r.MaxSurge, intstr.IntOrString{})
		}
		errs = append(errs, field.NotSupported(at, any(validate.GoNames{Value: shown}), []string{"Recreate", "RollingUpdate"}))
	}
	return errs
}

func valueOf(v *intstr.IntOrString) intstr.IntOrString {
	if v == nil {
		return intstr.IntOrString{}
	}
	return *v
}

func validateRolling(r *appsv1.RollingUpdateDeployment, at *field.Path) (errs field.ErrorList) {
	unavailable, surge := valueOf(r.MaxUnavailable), valueOf(r.MaxSurge)
	errs = append(errs, validate.IntOrPercent(unavailable, at.Child("maxUnavailable"))...)
	errs = append(errs, validate.IntOrPercent(surge, at.Child("maxSurge"))...)
	if amount(unavailable) == 0 && amount(surge) == 0 {
		errs = append(errs, field.Invalid(at.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, validate.AtMostAll(unavailable, at.Child("maxUnavailable"))...)
}

// amount is the number in a count or a share.
func amount(v intstr.IntOrString) int {
	if percent, ok := validate.Percent(v); ok {
		return percent
	}
	return v.IntValue()
}

func validateDeploymentStatus(_ context.Context, obj, old *appsv1.Deployment) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at, s := field.NewPath("status"), obj.Status
	replicas := count{"status.replicas", int64(s.Replicas)}
	updated, ready, available := count{"updatedReplicas", int64(s.UpdatedReplicas)}, count{"readyReplicas", int64(s.ReadyReplicas)}, count{"availableReplicas", int64(s.AvailableReplicas)}
	errs = append(errs, nonNegative(at, count{"observedGeneration", s.ObservedGeneration}, count{"replicas", int64(s.Replicas)}, updated, ready, available, count{"unavailableReplicas", int64(s.UnavailableReplicas)})...)
	if s.TerminatingReplicas != nil {
		errs = append(errs, nonNegative(at, count{"terminatingReplicas", int64(*s.TerminatingReplicas)})...)
	}
	errs = append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount, at)...)
	errs = append(errs, atMost(at, replicas, updated, ready, available)...)
	return append(errs, atMost(at, ready, available)...)
}

func validateCollisions(n, old *int32, at *field.Path) (errs field.ErrorList) {
	if n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("collisionCount"))...)
	}
	return append(errs, notFewer(n, old, at.Child("collisionCount"))...)
}
