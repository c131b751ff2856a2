package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func persistentVolumeClaims() resource.Resource {
	type claim = *corev1.PersistentVolumeClaim
	return resource.Definition[claim]{
		Resource:       corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"),
		Kind:           "PersistentVolumeClaim",
		ReturnDeleted:  true,
		Singular:       "persistentvolumeclaim",
		ShortNames:     []string{"pvc"},
		Object:         &corev1.PersistentVolumeClaim{},
		List:           &corev1.PersistentVolumeClaimList{},
		Name:           apivalidation.NameIsDNSSubdomain,
		Default:        defaultClaim,
		Prepare:        prepareClaim,
		Validate:       validateClaim,
		Warn:           warnClaim,
		NoGeneration:   true,
		Spec:           func(c claim) any { return &c.Spec },
		Status:         func(c claim) any { return &c.Status },
		ValidateStatus: validateClaimStatus,
		Fields: func(c claim) fields.Set {
			return fields.Set{"name": c.Name}
		},
		Columns: claimColumns(),
	}
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	podspec.ClaimDefaults(&c.Spec)
	if c.Status.Phase == "" {
		c.Status.Phase = corev1.ClaimPending
	}
}

// prepareClaim keeps the two ways to name a data source equal.
func prepareClaim(_ context.Context, c, old *corev1.PersistentVolumeClaim) {
	if old == nil {
		c.Status.Phase = corev1.ClaimPending
		podspec.NormalizeDataSources(&c.Spec, nil)
		return
	}
	podspec.NormalizeDataSources(&c.Spec, &old.Spec)
}

func claimColumns() []resource.Column[*corev1.PersistentVolumeClaim] {
	type claim = *corev1.PersistentVolumeClaim
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return []resource.Column[claim]{
		{Name: "Status", Type: "string", Help: status["phase"], Value: func(c claim) any {
			if c.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(c.Status.Phase)
		}},
		{Name: "Volume", Type: "string", Help: spec["volumeName"], Value: func(c claim) any { return c.Spec.VolumeName }},
		{Name: "Capacity", Type: "string", Help: status["capacity"], Value: func(c claim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			q := c.Status.Capacity[corev1.ResourceStorage]
			return q.String()
		}},
		{Name: "Access Modes", Type: "string", Help: status["accessModes"], Value: func(c claim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return accessModesText(c.Status.AccessModes)
		}},
		{Name: "StorageClass", Type: "string", Help: "StorageClass of the pvc", Value: func(c claim) any { return claimClass(c) }},
		{Name: "VolumeAttributesClass", Type: "string", Help: "VolumeAttributesClass of the pvc", Value: func(c claim) any { return orUnset(c.Spec.VolumeAttributesClassName) }},
		resource.AgeColumn[claim](),
		{Name: "VolumeMode", Type: "string", Priority: 1, Help: spec["volumeMode"], Value: func(c claim) any { return volumeModeText(c.Spec.VolumeMode) }},
	}
}
