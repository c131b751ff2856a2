package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

// ClaimDefaults fills the defaults of a claim's spec (claims and the claim
// templates of ephemeral volumes and stateful sets).
func ClaimDefaults(s *corev1.PersistentVolumeClaimSpec) {
	setPointer(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	RoundUp(s.Resources.Limits)
	RoundUp(s.Resources.Requests)
}

func defaultVolume(v *corev1.Volume) {
	s := &v.VolumeSource
	if *s == (corev1.VolumeSource{}) {
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case s.HostPath != nil:
		setPointer(&s.HostPath.Type, corev1.HostPathUnset)
	case s.Secret != nil:
		setPointer(&s.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	case s.ConfigMap != nil:
		setPointer(&s.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	case s.DownwardAPI != nil:
		setPointer(&s.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownward(s.DownwardAPI.Items)
	case s.Projected != nil:
		defaultProjected(s.Projected)
	case s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil:
		ClaimDefaults(&s.Ephemeral.VolumeClaimTemplate.Spec)
	case s.Image != nil:
		if s.Image.PullPolicy == "" {
			s.Image.PullPolicy = pullPolicy(s.Image.Reference)
		}
	}
	defaultRemoteVolume(s)
}

func defaultRemoteVolume(s *corev1.VolumeSource) {
	switch {
	case s.ISCSI != nil:
		setDefault(&s.ISCSI.ISCSIInterface, "default")
	case s.RBD != nil:
		setDefault(&s.RBD.RBDPool, "rbd")
		setDefault(&s.RBD.RadosUser, "admin")
		setDefault(&s.RBD.Keyring, "/etc/ceph/keyring")
	case s.AzureDisk != nil:
		DefaultAzureDisk(s.AzureDisk)
	case s.ScaleIO != nil:
		setDefault(&s.ScaleIO.StorageMode, "ThinProvisioned")
		setDefault(&s.ScaleIO.FSType, "xfs")
	}
}

// DefaultAzureDisk fills the defaults of an Azure disk.
func DefaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	setPointer(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	setPointer(&d.Kind, corev1.AzureSharedBlobDisk)
	setPointer(&d.FSType, "ext4")
	setPointer(&d.ReadOnly, false)
}

func defaultDownward(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		if ref := files[i].FieldRef; ref != nil {
			setDefault(&ref.APIVersion, "v1")
		}
	}
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	setPointer(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		src := &p.Sources[i]
		if src.DownwardAPI != nil {
			defaultDownward(src.DownwardAPI.Items)
		}
		if src.ServiceAccountToken != nil {
			setPointer(&src.ServiceAccountToken.ExpirationSeconds, 60*60)
		}
	}
}
