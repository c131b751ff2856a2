package apps

import (
	"context"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

// templateGeneration counts the changes of the template, for users of the
// versions before apps/v1, where it was a field.
const templateGeneration = appsv1.DeprecatedTemplateGeneration

func daemonSets() resource.Definition[*appsv1.DaemonSet] {
	type D = *appsv1.DaemonSet
	return resource.Definition[D]{
		Resource:   group.WithResource("daemonsets"),
		Kind:       "DaemonSet",
		Singular:   "daemonset",
		ShortNames: []string{"ds"},
		Categories: []string{"all"},
		Object:     &appsv1.DaemonSet{},
		List:       &appsv1.DaemonSetList{},
		Register:   register,
		Name:       validation.NameIsDNSSubdomain,
		NameOnce:   true,
		Default:    defaultDaemonSet,
		Prepare:    prepareDaemonSet,
		Validate:   validateDaemonSet,
		Warn: func(_ context.Context, obj, old D) []string {
			return podspec.OwnerWarnings(obj, old, &obj.Spec.Template, field.NewPath("spec", "template"), false)
		},
		Spec:           func(d D) any { return &d.Spec },
		Status:         func(d D) any { return &d.Status },
		ValidateStatus: validateDaemonSetStatus,
		PrepareStatus: func(_ context.Context, obj, old D) {
			metav1.SetMetaDataAnnotation(&obj.ObjectMeta, templateGeneration, old.Annotations[templateGeneration])
		},
		Columns: daemonSetColumns(),
	}
}

func daemonSetColumns() []resource.Column[*appsv1.DaemonSet] {
	type D = *appsv1.DaemonSet
	status, spec := appsv1.DaemonSetStatus{}.SwaggerDoc(), appsv1.DaemonSetSpec{}.SwaggerDoc()
	number := func(value func(s *appsv1.DaemonSetStatus) int32) func(D) any {
		return func(d D) any { return int64(value(&d.Status)) }
	}
	columns := []resource.Column[D]{
		{Name: "Desired", Type: "integer", Help: status["desiredNumberScheduled"], Value: number(func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled })},
		{Name: "Current", Type: "integer", Help: status["currentNumberScheduled"], Value: number(func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled })},
		{Name: "Ready", Type: "integer", Help: status["numberReady"], Value: number(func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady })},
		{Name: "Up-to-date", Type: "integer", Help: status["updatedNumberScheduled"], Value: number(func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled })},
		{Name: "Available", Type: "integer", Help: status["numberAvailable"], Value: number(func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable })},
		{Name: "Node Selector", Type: "string", Help: corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], Value: func(d D) any {
			return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
		}},
		resource.AgeColumn[D](),
	}
	columns = append(columns, containerColumns(func(d D) *corev1.PodTemplateSpec { return &d.Spec.Template })...)
	return append(columns, resource.Column[D]{Name: "Selector", Type: "string", Priority: 1, Help: spec["selector"], Value: func(d D) any {
		return metav1.FormatLabelSelector(d.Spec.Selector)
	}})
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	podspec.SetTemplateDefaults(&s.Template)
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		setTo(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setTo(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setTo(&s.RevisionHistoryLimit, 10)
	// there before the fields' managers are noted, as if the client had sent it
	if _, ok := d.Annotations[templateGeneration]; !ok {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, templateGeneration, "0")
	}
}

func prepareDaemonSet(_ context.Context, obj, old *appsv1.DaemonSet) {
	generation, was := int64(1), (*corev1.PodTemplateSpec)(nil)
	if old != nil {
		was = &old.Spec.Template
		generation, _ = strconv.ParseInt(old.Annotations[templateGeneration], 10, 64)
	}
	prepareTemplate(&obj.Spec.Template, was)
	if was != nil && !equality.Semantic.DeepEqual(&obj.Spec.Template, was) {
		generation++
	}
	metav1.SetMetaDataAnnotation(&obj.ObjectMeta, templateGeneration, strconv.FormatInt(generation, 10))
}

func validateDaemonSet(_ context.Context, obj, old *appsv1.DaemonSet) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	w := workload{kind: "daemonset", selector: s.Selector, template: &s.Template}
	if old != nil {
		w.old = &old.Spec.Template
		errs = append(errs, validation.ValidateImmutableField(s.Selector, old.Spec.Selector, at.Child("selector"))...)
	}
	if s.Selector != nil {
		errs = append(errs, w.validateSelector(at.Child("selector"))...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil {
		errs = append(errs, w.validateLabels(selector, at.Child("template"))...)
	}
	errs = append(errs, w.validateTemplate(at.Child("template"))...)
	errs = append(errs, validate.NonNegative(s.MinReadySeconds, at.Child("minReadySeconds"))...)
	errs = append(errs, validateUpdateStrategy(&s.UpdateStrategy, at.Child("updateStrategy"))...)
	if n := s.RevisionHistoryLimit; n != nil {
		errs = append(errs, validate.NonNegative(*n, at.Child("revisionHistoryLimit"))...)
	}
	return errs
}

func validateUpdateStrategy(s *appsv1.DaemonSetUpdateStrategy, at *field.Path) (errs field.ErrorList) {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(at.Child("rollingUpdate"), "")}
		}
		return validateDaemonRolling(s.RollingUpdate, at.Child("rollingUpdate"))
	}
	shown := s.DeepCopy()
	if r := shown.RollingUpdate; r != nil {
		setTo(&r.MaxUnavailable, intstr.IntOrString{})
		setTo(&r.MaxSurge, intstr.IntOrString{})
	}
	return field.ErrorList{field.NotSupported(at, any(validate.GoNames{Value: shown}), []string{"RollingUpdate", "OnDelete"})}
}

func validateDaemonRolling(r *appsv1.RollingUpdateDaemonSet, at *field.Path) (errs field.ErrorList) {
	unavailable, surge := valueOf(r.MaxUnavailable), valueOf(r.MaxSurge)
	errs = append(errs, validate.IntOrPercent(unavailable, at.Child("maxUnavailable"))...)
	errs = append(errs, validate.IntOrPercent(surge, at.Child("maxSurge"))...)
	switch hasUnavailable, hasSurge := amount(unavailable) != 0, amount(surge) != 0; {
	case hasUnavailable && hasSurge:
		errs = append(errs, field.Invalid(at.Child("maxSurge"), r.MaxSurge, "may not be set when maxUnavailable is non-zero"))
	case !hasUnavailable && !hasSurge:
		errs = append(errs, field.Required(at.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	errs = append(errs, validate.AtMostAll(unavailable, at.Child("maxUnavailable"))...)
	return append(errs, validate.AtMostAll(surge, at.Child("maxSurge"))...)
}

func validateDaemonSetStatus(_ context.Context, obj, old *appsv1.DaemonSet) field.ErrorList {
	errs := validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	at, s := field.NewPath("status"), obj.Status
	errs = append(errs, nonNegative(at,
		count{"currentNumberScheduled", int64(s.CurrentNumberScheduled)}, count{"numberMisscheduled", int64(s.NumberMisscheduled)},
		count{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)}, count{"numberReady", int64(s.NumberReady)},
		count{"observedGeneration", s.ObservedGeneration}, count{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)},
		count{"numberAvailable", int64(s.NumberAvailable)}, count{"numberUnavailable", int64(s.NumberUnavailable)})...)
	if s.CollisionCount != nil {
		errs = append(errs, validate.NonNegative(*s.CollisionCount, at.Child("collisionCount"))...)
	}
	return append(errs, notFewer(s.CollisionCount, old.Status.CollisionCount, at.Child("collisionCount"))...)
}
