package apps

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func statefulSets() resource.Definition[*appsv1.StatefulSet] {
	type S = *appsv1.StatefulSet
	scale := resource.Scale[S]{
		Paths:    replicasPath(),
		Replicas: func(s S) *int32 { return s.Spec.Replicas },
		Status: func(s S) (int32, string) {
			return s.Status.Replicas, metav1.FormatLabelSelector(s.Spec.Selector)
		},
	}
	columns := []resource.Column[S]{
		{Name: "Ready", Type: "string", Help: "Number of the pod with ready state", Value: func(s S) any { return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, *s.Spec.Replicas) }},
		resource.AgeColumn[S](),
	}
	return resource.Definition[S]{
		Resource:   group.WithResource("statefulsets"),
		Kind:       "StatefulSet",
		Singular:   "statefulset",
		ShortNames: []string{"sts"},
		Categories: []string{"all"},
		Object:     &appsv1.StatefulSet{},
		List:       &appsv1.StatefulSetList{},
		Types:      resource.ScaleTypes(),
		Register:   register,
		Name:       validation.NameIsDNSLabel,
		NameOnce:   true,
		Default:    defaultStatefulSet,
		Prepare: func(_ context.Context, obj, old S) {
			if old == nil {
				prepareTemplate(&obj.Spec.Template, nil)
			} else {
				prepareTemplate(&obj.Spec.Template, &old.Spec.Template)
			}
		},
		Validate:       validateStatefulSet,
		Warn:           warnStatefulSet,
		Spec:           func(s S) any { return &s.Spec },
		Status:         func(s S) any { return &s.Status },
		ValidateStatus: validateStatefulSetStatus,
		Columns:        append(columns, containerColumns(func(s S) *corev1.PodTemplateSpec { return &s.Spec.Template })...),
		Subresources:   map[string]func(*registry.Store) rest.Storage{"scale": scale.Endpoint},
	}
}

func defaultStatefulSet(set *appsv1.StatefulSet) {
	s := &set.Spec
	podspec.SetTemplateDefaults(&s.Template)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		podspec.ClaimDefaults(&c.Spec)
		if c.Status.Phase == "" {
			c.Status.Phase = corev1.ClaimPending
		}
	}
	if s.PodManagementPolicy == "" {
		s.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		setTo(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if u := &s.UpdateStrategy; u.Type == appsv1.RollingUpdateStatefulSetStrategyType && u.RollingUpdate != nil {
		setTo(&u.RollingUpdate.Partition, 0)
		setTo(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	setTo(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	retention := s.PersistentVolumeClaimRetentionPolicy
	if retention.WhenDeleted == "" {
		retention.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if retention.WhenScaled == "" {
		retention.WhenScaled = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	setTo(&s.Replicas, 1)
	setTo(&s.RevisionHistoryLimit, 10)
}

func warnStatefulSet(_ context.Context, s, old *appsv1.StatefulSet) []string {
	out := podspec.OwnerWarnings(s, old, &s.Spec.Template, field.NewPath("spec", "template"), false)
	for i := range s.Spec.VolumeClaimTemplates {
		path := field.NewPath("spec", "volumeClaimTemplates").Index(i)
		if old != nil {
			path = path.Child("Spec") // the two paths of upstream's texts
		}
		out = append(out, podspec.ClaimWarnings(&s.Spec.VolumeClaimTemplates[i].Spec, path)...)
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}
