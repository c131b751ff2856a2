package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func (c *checker) checkVolumes(path *field.Path) (errs field.ErrorList) {
	names := map[string]bool{}
	for i := range c.spec.Volumes {
		v, at := &c.spec.Volumes[i], path.Index(i)
		bad := validateVolumeSource(v, at)
		if v.Name == "" {
			bad = append(bad, field.Required(at.Child("name"), ""))
		} else {
			bad = append(bad, validate.DNSLabel(v.Name, at.Child("name"))...)
		}
		if names[v.Name] {
			bad = append(bad, field.Duplicate(at.Child("name"), v.Name))
		}
		names[v.Name] = true
		// mounts of a volume that is wrong have nothing to refer to
		if len(bad) == 0 {
			c.volumes[v.Name] = v
		}
		errs = append(errs, bad...)
	}
	return errs
}

// checkVolumeSource checks that one source is given, and that one.
func validateVolumeSource(v *corev1.Volume, path *field.Path) (errs field.ErrorList) {
	count := 0
	one := func(name string, set bool, check func(*field.Path) field.ErrorList) {
		if !set {
			return
		}
		if count > 0 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
		} else {
			errs = append(errs, check(path.Child(name))...)
		}
		count++
	}
	s := &v.VolumeSource
	one("emptyDir", s.EmptyDir != nil, func(at *field.Path) field.ErrorList {
		if q := s.EmptyDir.SizeLimit; q != nil && q.Sign() < 0 {
			return field.ErrorList{field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
		return nil
	})
	one("hostPath", s.HostPath != nil, func(at *field.Path) field.ErrorList { return ValidateHostPath(s.HostPath, at) })
	one("gitRepo", s.GitRepo != nil, func(at *field.Path) field.ErrorList {
		return append(validate.Required(s.GitRepo.Repository, at.Child("repository")), validateDescending(s.GitRepo.Directory, at.Child("directory"))...)
	})
	one("gcePersistentDisk", s.GCEPersistentDisk != nil, func(*field.Path) field.ErrorList {
		return validateDisk(s.GCEPersistentDisk.PDName, "pdName", s.GCEPersistentDisk.Partition, path.Child("persistentDisk"))
	})
	one("awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(at *field.Path) field.ErrorList {
		return validateDisk(s.AWSElasticBlockStore.VolumeID, "volumeID", s.AWSElasticBlockStore.Partition, at)
	})
	one("secret", s.Secret != nil, func(at *field.Path) field.ErrorList {
		errs := validate.Required(s.Secret.SecretName, at.Child("secretName"))
		errs = append(errs, validateMode(s.Secret.DefaultMode, at.Child("defaultMode"))...)
		return append(errs, validateItems(s.Secret.Items, at.Child("items"))...)
	})
	one("nfs", s.NFS != nil, func(at *field.Path) field.ErrorList { return ValidateNFS(s.NFS, at) })
	one("iscsi", s.ISCSI != nil, func(at *field.Path) field.ErrorList {
		i := s.ISCSI
		return ValidateISCSI(ISCSI{
			Portal: i.TargetPortal, IQN: i.IQN, LUN: i.Lun, Initiator: i.InitiatorName,
			CHAP: i.DiscoveryCHAPAuth || i.SessionCHAPAuth, HasAuth: i.SecretRef != nil,
		}, at)
	})
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(v.Name+":"+s.ISCSI.TargetPortal) > 64 {
		errs = append(errs, field.Invalid(path.Child("name"), v.Name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."))
	}
	one("glusterfs", s.Glusterfs != nil, func(at *field.Path) field.ErrorList {
		return append(validate.Required(s.Glusterfs.EndpointsName, at.Child("endpoints")), validate.Required(s.Glusterfs.Path, at.Child("path"))...)
	})
	one("flocker", s.Flocker != nil, func(at *field.Path) field.ErrorList { return ValidateFlocker(s.Flocker, at) })
	one("persistentVolumeClaim", s.PersistentVolumeClaim != nil, func(at *field.Path) field.ErrorList {
		return validate.Required(s.PersistentVolumeClaim.ClaimName, at.Child("claimName"))
	})
	one("rbd", s.RBD != nil, func(at *field.Path) field.ErrorList { return ValidateRBD(s.RBD.CephMonitors, s.RBD.RBDImage, at) })
	one("cinder", s.Cinder != nil, func(at *field.Path) field.ErrorList {
		errs := validate.Required(s.Cinder.VolumeID, at.Child("volumeID"))
		if s.Cinder.SecretRef != nil {
			errs = append(errs, validate.Required(s.Cinder.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		return errs
	})
	one("cephfs", s.CephFS != nil, func(at *field.Path) field.ErrorList { return ValidateMonitors(s.CephFS.Monitors, at) })
	one("quobyte", s.Quobyte != nil, func(at *field.Path) field.ErrorList { return ValidateQuobyte(s.Quobyte, at) })
	one("downwardAPI", s.DownwardAPI != nil, func(at *field.Path) field.ErrorList {
		errs := validateMode(s.DownwardAPI.DefaultMode, at.Child("defaultMode"))
		for i := range s.DownwardAPI.Items {
			errs = append(errs, validateDownwardFile(&s.DownwardAPI.Items[i], at)...)
		}
		return errs
	})
	one("fc", s.FC != nil, func(at *field.Path) field.ErrorList { return ValidateFC(s.FC, at) })
	one("flexVolume", s.FlexVolume != nil, func(at *field.Path) field.ErrorList {
		return ValidateFlex(s.FlexVolume.Driver, s.FlexVolume.Options, at)
	})
	one("configMap", s.ConfigMap != nil, func(at *field.Path) field.ErrorList {
		errs := validate.Required(s.ConfigMap.Name, at.Child("name"))
		errs = append(errs, validateMode(s.ConfigMap.DefaultMode, at.Child("defaultMode"))...)
		return append(errs, validateItems(s.ConfigMap.Items, at.Child("items"))...)
	})
	one("azureFile", s.AzureFile != nil, func(at *field.Path) field.ErrorList {
		return append(validate.Required(s.AzureFile.SecretName, at.Child("secretName")), validate.Required(s.AzureFile.ShareName, at.Child("shareName"))...)
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
	one("azureDisk", s.AzureDisk != nil, func(at *field.Path) field.ErrorList { return ValidateAzureDisk(s.AzureDisk, at) })
	one("storageos", s.StorageOS != nil, func(at *field.Path) field.ErrorList {
		errs := ValidateStorageOS(s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at)
		if s.StorageOS.SecretRef != nil {
			errs = append(errs, validate.Required(s.StorageOS.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		return errs
	})
	one("projected", s.Projected != nil, func(at *field.Path) field.ErrorList { return validateProjected(s.Projected, at) })
	one("scaleIO", s.ScaleIO != nil, func(at *field.Path) field.ErrorList {
		return ValidateScaleIO(s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, at)
	})
	one("csi", s.CSI != nil, func(at *field.Path) field.ErrorList {
		errs := ValidateCSIDriverName(s.CSI.Driver, at.Child("driver"))
		if r := s.CSI.NodePublishSecretRef; r != nil {
			if r.Name == "" {
				errs = append(errs, field.Required(at.Child("nodePublishSecretRef", "name"), ""))
			} else {
				errs = append(errs, validate.All(at.Child("name"), r.Name, apivalidation.NameIsDNSSubdomain(r.Name, false))...)
			}
		}
		return errs
	})
	one("ephemeral", s.Ephemeral != nil, func(at *field.Path) field.ErrorList {
		errs := validateEphemeralVolume(s.Ephemeral, at)
		return errs
	})
	one("image", s.Image != nil, func(at *field.Path) field.ErrorList {
		errs := validate.Required(s.Image.Reference, at.Child("reference"))
		return append(errs, validate.RequiredEnum(s.Image.PullPolicy, at.Child("pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	})
	if count == 0 {
		errs = append(errs, field.Required(path, "must specify a volume type"))
	}
	return errs
}

func validateMode(mode *int32, path *field.Path) field.ErrorList {
	if mode != nil && (*mode > 0o777 || *mode < 0) {
		return field.ErrorList{field.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func validateItems(items []corev1.KeyToPath, path *field.Path) (errs field.ErrorList) {
	for i := range items {
		errs = append(errs, validateItem(&items[i], path.Index(i))...)
	}
	return errs
}

func validateItem(k *corev1.KeyToPath, at *field.Path) field.ErrorList {
	errs := validate.Required(k.Key, at.Child("key"))
	errs = append(errs, validate.Required(k.Path, at.Child("path"))...)
	errs = append(errs, validateFilePath(k.Path, at.Child("path"))...)
	return append(errs, validateMode(k.Mode, at.Child("mode"))...)
}

func validateDownwardFile(f *corev1.DownwardAPIVolumeFile, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.Required(f.Path, path.Child("path"))...)
	errs = append(errs, validateFilePath(f.Path, path.Child("path"))...)
	switch {
	case f.FieldRef != nil:
		errs = append(errs, validateFieldRef(f.FieldRef, volumeFields, path.Child("fieldRef"))...)
		if f.ResourceFieldRef != nil {
			errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case f.ResourceFieldRef != nil:
		errs = append(errs, validateResourceRef(f.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
	default:
		errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
	}
	return append(errs, validateMode(f.Mode, path.Child("mode"))...)
}

func validateEphemeralVolume(e *corev1.EphemeralVolumeSource, path *field.Path) (errs field.ErrorList) {
	t, at := e.VolumeClaimTemplate, path.Child("volumeClaimTemplate")
	if t == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs = append(errs, validateClaimTemplateMeta(t, at.Child("metadata"))...)
	return append(errs, ValidateClaimSpec(&t.Spec, at.Child("spec"))...)
}
