package core

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/conversion"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validatePersistentVolume(_ context.Context, v, old *corev1.PersistentVolume) (errs field.ErrorList) {
	spec, s := field.NewPath("spec"), &v.Spec
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(spec.Child("accessModes"), ""))
	} else {
		errs = append(errs, podspec.ValidateAccessModes(s.AccessModes, spec.Child("accessModes"))...)
	}
	errs = append(errs, validateCapacity(s.Capacity, spec.Child("capacity"))...)
	if p := s.PersistentVolumeReclaimPolicy; p != "" {
		errs = append(errs, validate.Enum(p, spec.Child("persistentVolumeReclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	if a := s.NodeAffinity; a != nil {
		at := spec.Child("nodeAffinity", "required")
		if a.Required == nil {
			errs = append(errs, field.Required(at, "must specify required node constraints"))
		} else {
			errs = append(errs, podspec.ValidateNodeSelector(a.Required, at)...)
		}
	}
	errs = append(errs, validatePVSource(s, v.Name, spec)...)
	if h := s.HostPath; h != nil && path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(spec.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	if n := s.StorageClassName; n != "" {
		errs = append(errs, validate.All(spec.Child("storageClassName"), n, apivalidation.NameIsDNSSubdomain(n, false))...)
	}
	if m := s.VolumeMode; m != nil {
		errs = append(errs, validate.Enum(*m, spec.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if n := s.VolumeAttributesClassName; n != nil {
		at := spec.Child("volumeAttributesClassName")
		if *n == "" {
			errs = append(errs, field.Required(at, "an empty string is disallowed"))
		} else {
			errs = append(errs, validate.All(at, *n, apivalidation.NameIsDNSSubdomain(*n, false))...)
		}
		if s.CSI == nil {
			errs = append(errs, field.Required(spec.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	if old != nil {
		errs = append(errs, validatePVChange(v, old)...)
	}
	return errs
}

func validateCapacity(list corev1.ResourceList, at *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if _, ok := list[corev1.ResourceStorage]; !ok || len(list) > 1 {
		errs = append(errs, field.NotSupported(at, podspec.Untagged(list), []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, k := range slices.Sorted(maps.Keys(list)) {
		q := list[k]
		if q.Value() < 0 {
			errs = append(errs, field.Invalid(at.Key(string(k)), q.Value(), "must be a valid resource quantity"))
		}
		if q.Sign() <= 0 {
			errs = append(errs, field.Invalid(at.Key(string(k)), q.String(), "must be greater than zero"))
		}
	}
	return errs
}

func validatePVChange(v, old *corev1.PersistentVolume) (errs field.ErrorList) {
	if !equality.Semantic.DeepEqual(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"), fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", podspec.Diff(old.Spec.PersistentVolumeSource, v.Spec.PersistentVolumeSource))))
	}
	errs = append(errs, validate.Unchanged(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil && !affinityEqualities().DeepEqual(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), podspec.Untagged(v.Spec.NodeAffinity), "field is immutable, except for updating from beta label to GA"))
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// affinityEqualities calls requirements equal that differ in the name of a label
// alone which has left beta.
func affinityEqualities() conversion.Equalities {
	renamed := map[string]string{
		corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		"beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable,
		corev1.LabelInstanceType: corev1.LabelInstanceTypeStable,
	}
	out := equality.Semantic.Copy()
	utilruntime.Must(out.AddFunc(func(a, b corev1.NodeSelectorRequirement) bool {
		if a.Key == renamed[b.Key] {
			b.Key = a.Key
		}
		return equality.Semantic.DeepEqual(a, b)
	}))
	return out
}

// validatePVSource checks that one source is given, and that one.
func validatePVSource(s *corev1.PersistentVolumeSpec, name string, spec *field.Path) (errs field.ErrorList) {
	count := 0
	one := func(name string, set bool, check func(*field.Path) field.ErrorList) {
		if !set {
			return
		}
		if count > 0 {
			errs = append(errs, field.Forbidden(spec.Child(name), "may not specify more than 1 volume type"))
		} else {
			errs = append(errs, check(spec.Child(name))...)
		}
		count++
	}
	one("hostPath", s.HostPath != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateHostPath(s.HostPath, at) })
	one("persistentDisk", s.GCEPersistentDisk != nil, func(at *field.Path) field.ErrorList {
		return podspec.ValidateDisk(s.GCEPersistentDisk.PDName, "pdName", s.GCEPersistentDisk.Partition, at)
	})
	one("awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(at *field.Path) field.ErrorList {
		return podspec.ValidateDisk(s.AWSElasticBlockStore.VolumeID, "volumeID", s.AWSElasticBlockStore.Partition, at)
	})
	one("glusterfs", s.Glusterfs != nil, func(at *field.Path) field.ErrorList { return validatePVGluster(s.Glusterfs, at) })
	one("flocker", s.Flocker != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateFlocker(s.Flocker, at) })
	one("nfs", s.NFS != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateNFS(s.NFS, at) })
	one("rbd", s.RBD != nil, func(at *field.Path) field.ErrorList {
		return podspec.ValidateRBD(s.RBD.CephMonitors, s.RBD.RBDImage, at)
	})
	one("quobyte", s.Quobyte != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateQuobyte(s.Quobyte, at) })
	one("cephfs", s.CephFS != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateMonitors(s.CephFS.Monitors, at) })
	one("iscsi", s.ISCSI != nil, func(at *field.Path) field.ErrorList { return validatePVISCSI(s.ISCSI, name, at) })
	one("cinder", s.Cinder != nil, func(at *field.Path) field.ErrorList {
		errs := validate.Required(s.Cinder.VolumeID, at.Child("volumeID"))
		if r := s.Cinder.SecretRef; r != nil {
			errs = append(errs, validate.Required(r.Name, at.Child("secretRef", "name"))...)
			errs = append(errs, validate.Required(r.Namespace, at.Child("secretRef", "namespace"))...)
		}
		return errs
	})
	one("fc", s.FC != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateFC(s.FC, at) })
	one("flexVolume", s.FlexVolume != nil, func(at *field.Path) field.ErrorList {
		return podspec.ValidateFlex(s.FlexVolume.Driver, s.FlexVolume.Options, at)
	})
	one("azureFile", s.AzureFile != nil, func(at *field.Path) field.ErrorList {
		errs := validate.Required(s.AzureFile.SecretName, at.Child("secretName"))
		errs = append(errs, validate.Required(s.AzureFile.ShareName, at.Child("shareName"))...)
		if n := s.AzureFile.SecretNamespace; n != nil {
			errs = append(errs, validate.Required(*n, at.Child("secretNamespace"))...)
		}
		return errs
	})
	one("vsphereVolume", s.VsphereVolume != nil, func(at *field.Path) field.ErrorList {
		return validate.Required(s.VsphereVolume.VolumePath, at.Child("volumePath"))
	})
	one("photonPersistentDisk", s.PhotonPersistentDisk != nil, func(at *field.Path) field.ErrorList {
		return validate.Required(s.PhotonPersistentDisk.PdID, at.Child("pdID"))
	})
	one("portworxVolume", s.PortworxVolume != nil, func(at *field.Path) field.ErrorList {
		return validate.Required(s.PortworxVolume.VolumeID, at.Child("volumeID"))
	})
	one("azureDisk", s.AzureDisk != nil, func(at *field.Path) field.ErrorList { return podspec.ValidateAzureDisk(s.AzureDisk, at) })
	one("scaleIO", s.ScaleIO != nil, func(at *field.Path) field.ErrorList {
		return podspec.ValidateScaleIO(s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, at)
	})
	one("local", s.Local != nil, func(at *field.Path) field.ErrorList {
		errs := podspec.ValidateLocal(s.Local, at)
		if s.NodeAffinity == nil {
			errs = append(errs, field.Required(spec.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
		return errs
	})
	one("storageos", s.StorageOS != nil, func(at *field.Path) field.ErrorList {
		errs := podspec.ValidateStorageOS(s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at)
		if r := s.StorageOS.SecretRef; r != nil {
			errs = append(errs, validate.Required(r.Name, at.Child("secretRef", "name"))...)
			errs = append(errs, validate.Required(r.Namespace, at.Child("secretRef", "namespace"))...)
		}
		return errs
	})
	one("csi", s.CSI != nil, func(at *field.Path) field.ErrorList { return validatePVCSI(s.CSI, at) })
	if count == 0 {
		errs = append(errs, field.Required(spec, "must specify a volume type"))
	}
	return errs
}

func validatePVGluster(g *corev1.GlusterfsPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := validate.Required(g.EndpointsName, at.Child("endpoints"))
	errs = append(errs, validate.Required(g.Path, at.Child("path"))...)
	if n := g.EndpointsNamespace; n != nil {
		ns := at.Child("endpointsNamespace")
		if *n == "" {
			return append(errs, field.Invalid(ns, *n, "if the endpointnamespace is set, it must be a valid namespace name"))
		}
		errs = append(errs, validate.All(ns, *n, apivalidation.ValidateNamespaceName(*n, false))...)
	}
	return errs
}

func validatePVISCSI(i *corev1.ISCSIPersistentVolumeSource, name string, at *field.Path) field.ErrorList {
	errs := podspec.ValidateISCSI(podspec.ISCSI{
		Portal: i.TargetPortal, IQN: i.IQN, LUN: i.Lun, Initiator: i.InitiatorName,
		CHAP: i.DiscoveryCHAPAuth || i.SessionCHAPAuth, HasAuth: i.SecretRef != nil, Strict: true, Volume: name,
	}, at)
	if i.SecretRef != nil {
		errs = append(errs, validate.Required(i.SecretRef.Name, at.Child("secretRef", "name"))...)
	}
	return errs
}

func validatePVCSI(c *corev1.CSIPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := podspec.ValidateCSIDriverName(c.Driver, at.Child("driver"))
	errs = append(errs, validate.Required(c.VolumeHandle, at.Child("volumeHandle"))...)
	for _, r := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", c.ControllerPublishSecretRef},
		{"controllerExpandSecretRef", c.ControllerExpandSecretRef},
		{"nodePublishSecretRef", c.NodePublishSecretRef},
		{"nodeExpandSecretRef", c.NodeExpandSecretRef},
	} {
		if r.ref == nil {
			continue
		}
		name, ns := at.Child(r.name, "name"), at.Child(r.name, "namespace")
		if r.ref.Name == "" {
			errs = append(errs, field.Required(name, ""))
		} else {
			errs = append(errs, validate.All(name, r.ref.Name, apivalidation.NameIsDNSSubdomain(r.ref.Name, false))...)
		}
		if r.ref.Namespace == "" {
			errs = append(errs, field.Required(ns, ""))
		} else {
			errs = append(errs, validate.All(ns, r.ref.Namespace, apivalidation.ValidateNamespaceName(r.ref.Namespace, false))...)
		}
	}
	return errs
}
