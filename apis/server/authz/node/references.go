package node

import (
	corev1 "k8s.io/api/core/v1"

	"skiff/internal/podrefs"
)

// References reports whether a pod's spec names secrets and config maps.
func References(pod *corev1.Pod) (secrets, configMaps bool) {
	r := podrefs.Of(pod)
	return len(r.Secrets) > 0, len(r.ConfigMaps) > 0
}

// secretRef names a secret of any namespace.
type secretRef struct{ namespace, name string }

// volumeSecrets are the secrets a node needs to mount the volume.
func volumeSecrets(pv *corev1.PersistentVolume) []secretRef {
	var out []secretRef
	add := func(r *corev1.SecretReference) {
		if r != nil {
			out = append(out, secretRef{r.Namespace, r.Name})
		}
	}
	switch s := &pv.Spec.PersistentVolumeSource; {
	case s.AzureFile != nil:
		namespace := pv.Spec.ClaimRef.Namespace
		if s.AzureFile.SecretNamespace != nil {
			namespace = *s.AzureFile.SecretNamespace
		}
		out = append(out, secretRef{namespace, s.AzureFile.SecretName})
	case s.CephFS != nil:
		add(s.CephFS.SecretRef)
	case s.Cinder != nil:
		add(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		add(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		add(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		add(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		add(s.ISCSI.SecretRef)
	case s.CSI != nil:
		add(s.CSI.NodePublishSecretRef)
		add(s.CSI.NodeStageSecretRef)
		add(s.CSI.NodeExpandSecretRef)
	}
	return out
}

// resourceClaims are the claims of the pod, made for it or named by it.
func resourceClaims(pod *corev1.Pod) []string {
	var out []string
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			out = append(out, *c.ResourceClaimName)
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			out = append(out, *s.ResourceClaimName)
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		out = append(out, s.ResourceClaimName)
	}
	return out
}
