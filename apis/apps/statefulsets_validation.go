package apps

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateStatefulSet(_ context.Context, obj, old *appsv1.StatefulSet) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	w := workload{kind: "statefulset", selector: s.Selector, template: withClaims(s), badSelector: ""}
	if old != nil {
		w.old = withClaims(&old.Spec)
	}
	if p := s.PodManagementPolicy; p != appsv1.OrderedReadyPodManagement && p != appsv1.ParallelPodManagement {
		errs = append(errs, field.Invalid(at.Child("podManagementPolicy"), p, "must be 'OrderedReady' or 'Parallel'"))
	}
	errs = append(errs, validateSetStrategy(&s.UpdateStrategy, at.Child("updateStrategy"))...)
	errs = append(errs, validateRetention(s.PersistentVolumeClaimRetentionPolicy, at.Child("persistentVolumeClaimRetentionPolicy"))...)
	if old == nil {
		for i := range s.VolumeClaimTemplates {
			errs = append(errs, podspec.ValidateClaimSpec(&s.VolumeClaimTemplates[i].Spec, at.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
		}
	}
	errs = append(errs, validate.NonNegative(*s.Replicas, at.Child("replicas"))...)
	errs = append(errs, validate.NonNegative(s.MinReadySeconds, at.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, validate.NonNegative(s.Ordinals.Start, at.Child("ordinals.start"))...)
	}
	if s.ServiceName != "" && old == nil {
		errs = append(errs, validate.DNSLabel(s.ServiceName, at.Child("serviceName"))...)
	}
	errs = append(errs, w.validateSelector(at.Child("selector"))...)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err != nil {
		errs = append(errs, field.Invalid(at.Child("selector"), s.Selector, ""))
	} else {
		errs = append(errs, w.validateLabels(selector, at.Child("template"))...)
	}
	errs = append(errs, w.validateTemplate(at.Child("template"))...)
	if old != nil {
		errs = append(errs, validateStatefulSetUpdate(obj, old)...)
	}
	return errs
}

// withClaims is the template of the pods as they will be: with a volume for
// each claim template, which replaces a volume of its name, and without the
// names that each pod is given.
func withClaims(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := &s.Template
	if len(s.VolumeClaimTemplates) == 0 && t.Spec.Hostname == "" && t.Spec.Subdomain == "" {
		return t
	}
	out := t.DeepCopy()
	out.Spec.Hostname, out.Spec.Subdomain, out.Spec.Volumes = "", "", nil
	claimed := map[string]bool{}
	for _, c := range s.VolumeClaimTemplates {
		if claimed[c.Name] {
			continue
		}
		claimed[c.Name] = true
		out.Spec.Volumes = append(out.Spec.Volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name},
		}})
	}
	for _, v := range t.Spec.Volumes {
		if !claimed[v.Name] {
			out.Spec.Volumes = append(out.Spec.Volumes, v)
		}
	}
	return out
}

func validateSetStrategy(s *appsv1.StatefulSetUpdateStrategy, at *field.Path) (errs field.ErrorList) {
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			errs = append(errs, field.Invalid(at.Child("rollingUpdate"), s.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'"))
		}
		return errs
	case appsv1.RollingUpdateStatefulSetStrategyType:
		r := s.RollingUpdate
		if r == nil {
			return nil
		}
		rolling := at.Child("rollingUpdate")
		if r.Partition != nil {
			errs = append(errs, validate.NonNegative(*r.Partition, rolling.Child("partition"))...)
		}
		if r.MaxUnavailable != nil {
			errs = append(errs, validateMaxUnavailable(*r.MaxUnavailable, rolling.Child("maxUnavailable"))...)
		}
		return errs
	}
	return field.ErrorList{field.Invalid(at, shownSetStrategy(s), "must be 'RollingUpdate' or 'OnDelete'")}
}

func validateMaxUnavailable(v intstr.IntOrString, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.IntOrPercent(v, at)...)
	if amount(v) == 0 {
		errs = append(errs, field.Invalid(at, v, "cannot be 0"))
	}
	return append(errs, validate.AtMostAll(v, at)...)
}

// shownSetStrategy is a strategy as messages print it: with Go's field names.
func shownSetStrategy(s *appsv1.StatefulSetUpdateStrategy) any {
	type rolling struct {
		Partition      int32
		MaxUnavailable *intstr.IntOrString
	}
	out := struct {
		Type          appsv1.StatefulSetUpdateStrategyType
		RollingUpdate *rolling
	}{Type: s.Type}
	if r := s.RollingUpdate; r != nil {
		out.RollingUpdate = &rolling{MaxUnavailable: r.MaxUnavailable}
		if r.Partition != nil {
			out.RollingUpdate.Partition = *r.Partition
		}
	}
	return out
}

func validateRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, at *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	const retain, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	errs = append(errs, validate.Enum(p.WhenDeleted, at.Child("whenDeleted"), retain, remove)...)
	return append(errs, validate.Enum(p.WhenScaled, at.Child("whenScaled"), retain, remove)...)
}

// validateStatefulSetUpdate keeps what running pods can't follow.
func validateStatefulSetUpdate(obj, old *appsv1.StatefulSet) field.ErrorList {
	at := field.NewPath("spec")
	errs := validation.ValidateImmutableField(obj.Spec.Selector, old.Spec.Selector, at.Child("selector"))
	if !equality.Semantic.DeepEqual(obj.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates) {
		errs = append(errs, field.Invalid(at.Child("volumeClaimTemplates"), validate.GoNames{Value: obj.Spec.VolumeClaimTemplates}, validation.FieldImmutableErrorMsg))
	}
	errs = append(errs, validation.ValidateImmutableField(obj.Spec.ServiceName, old.Spec.ServiceName, at.Child("serviceName"))...)
	return append(errs, validation.ValidateImmutableField(obj.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy, at.Child("podManagementPolicy"))...)
}

func validateStatefulSetStatus(_ context.Context, obj, old *appsv1.StatefulSet) field.ErrorList {
	at, s := field.NewPath("status"), obj.Status
	replicas := count{"status.replicas", int64(s.Replicas)}
	ready, current, updated, available := count{"readyReplicas", int64(s.ReadyReplicas)}, count{"currentReplicas", int64(s.CurrentReplicas)}, count{"updatedReplicas", int64(s.UpdatedReplicas)}, count{"availableReplicas", int64(s.AvailableReplicas)}
	errs := nonNegative(at, count{"replicas", int64(s.Replicas)}, ready, current, updated, available, count{"observedGeneration", s.ObservedGeneration})
	if s.CollisionCount != nil {
		errs = append(errs, validate.NonNegative(*s.CollisionCount, at.Child("collisionCount"))...)
	}
	errs = append(errs, atMost(at, replicas, ready, current, updated, available)...)
	errs = append(errs, atMost(at, count{"status.readyReplicas", ready.value}, available)...)
	errs = append(errs, notFewer(s.CollisionCount, old.Status.CollisionCount, at.Child("collisionCount"))...)
	return append(errs, validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))...)
}
