package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func persistentVolumes() resource.Resource {
	type volume = *corev1.PersistentVolume
	return resource.Definition[volume]{
		Resource:      corev1.SchemeGroupVersion.WithResource("persistentvolumes"),
		Kind:          "PersistentVolume",
		ReturnDeleted: true,
		Singular:      "persistentvolume",
		ShortNames:    []string{"pv"},
		ClusterScoped: true,
		Object:        &corev1.PersistentVolume{},
		List:          &corev1.PersistentVolumeList{},
		Name:          apivalidation.NameIsDNSSubdomain,
		Default:       defaultPersistentVolume,
		Prepare: func(_ context.Context, v, old volume) {
			if old == nil {
				now := metav1.Now()
				v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
			}
		},
		Validate:     validatePersistentVolume,
		Warn:         warnVolume,
		NoGeneration: true,
		Spec:         func(v volume) any { return &v.Spec },
		Status:       func(v volume) any { return &v.Status },
		PrepareStatus: func(_ context.Context, v, old volume) {
			switch {
			case v.Status.Phase != old.Status.Phase && (v.Status.LastPhaseTransitionTime == nil || v.Status.LastPhaseTransitionTime.Equal(old.Status.LastPhaseTransitionTime)):
				now := metav1.Now()
				v.Status.LastPhaseTransitionTime = &now
			case v.Status.LastPhaseTransitionTime == nil:
				v.Status.LastPhaseTransitionTime = old.Status.LastPhaseTransitionTime
			}
		},
		Columns: persistentVolumeColumns(),
	}
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	podspec.RoundUp(v.Spec.Capacity)
	setIfEmpty(&v.Status.Phase, corev1.VolumePending)
	setIfEmpty(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	if v.Spec.VolumeMode == nil {
		mode := corev1.PersistentVolumeFilesystem
		v.Spec.VolumeMode = &mode
	}
	s := &v.Spec.PersistentVolumeSource
	switch {
	case s.HostPath != nil && s.HostPath.Type == nil:
		unset := corev1.HostPathUnset
		s.HostPath.Type = &unset
	case s.ISCSI != nil:
		setIfEmpty(&s.ISCSI.ISCSIInterface, "default")
	case s.RBD != nil:
		setIfEmpty(&s.RBD.RBDPool, "rbd")
		setIfEmpty(&s.RBD.RadosUser, "admin")
		setIfEmpty(&s.RBD.Keyring, "/etc/ceph/keyring")
	case s.AzureDisk != nil:
		podspec.DefaultAzureDisk(s.AzureDisk)
	case s.ScaleIO != nil:
		setIfEmpty(&s.ScaleIO.StorageMode, "ThinProvisioned")
		setIfEmpty(&s.ScaleIO.FSType, "xfs")
	}
}

func persistentVolumeColumns() []resource.Column[*corev1.PersistentVolume] {
	type volume = *corev1.PersistentVolume
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return []resource.Column[volume]{
		{Name: "Capacity", Type: "string", Help: spec["capacity"], Value: func(v volume) any {
			q := v.Spec.Capacity[corev1.ResourceStorage]
			return q.String()
		}},
		{Name: "Access Modes", Type: "string", Help: spec["accessModes"], Value: func(v volume) any { return accessModesText(v.Spec.AccessModes) }},
		{Name: "Reclaim Policy", Type: "string", Help: spec["persistentVolumeReclaimPolicy"], Value: func(v volume) any { return string(v.Spec.PersistentVolumeReclaimPolicy) }},
		{Name: "Status", Type: "string", Help: status["phase"], Value: func(v volume) any {
			if v.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(v.Status.Phase)
		}},
		{Name: "Claim", Type: "string", Help: spec["claimRef"], Value: func(v volume) any {
			if c := v.Spec.ClaimRef; c != nil {
				return c.Namespace + "/" + c.Name
			}
			return ""
		}},
		{Name: "StorageClass", Type: "string", Help: "StorageClass of the pv", Value: func(v volume) any { return volumeClass(v) }},
		{Name: "VolumeAttributesClass", Type: "string", Help: "VolumeAttributesClass of the pv", Value: func(v volume) any { return orUnset(v.Spec.VolumeAttributesClassName) }},
		{Name: "Reason", Type: "string", Help: status["reason"], Value: func(v volume) any { return v.Status.Reason }},
		resource.AgeColumn[volume](),
		{Name: "VolumeMode", Type: "string", Priority: 1, Help: spec["volumeMode"], Value: func(v volume) any { return volumeModeText(v.Spec.VolumeMode) }},
	}
}
