package node

import corev1 "k8s.io/api/core/v1"

// references are the names, in a pod's own namespace, that its spec uses.
type references struct{ secrets, configMaps, claims []string }

// References reports whether a pod's spec names secrets and config maps.
func References(pod *corev1.Pod) (secrets, configMaps bool) {
	r := referencesOf(pod)
	return len(r.secrets) > 0, len(r.configMaps) > 0
}

func referencesOf(pod *corev1.Pod) references {
	var r references
	spec := &pod.Spec
	for _, s := range spec.ImagePullSecrets {
		r.secrets = append(r.secrets, s.Name)
	}
	for i := range spec.InitContainers {
		r.container(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom)
	}
	for i := range spec.Containers {
		r.container(spec.Containers[i].Env, spec.Containers[i].EnvFrom)
	}
	for i := range spec.EphemeralContainers {
		r.container(spec.EphemeralContainers[i].Env, spec.EphemeralContainers[i].EnvFrom)
	}
	for i := range spec.Volumes {
		r.volume(pod.Name, &spec.Volumes[i])
	}
	return r
}

func (r *references) container(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if s := e.ValueFrom.SecretKeyRef; s != nil {
			r.secrets = append(r.secrets, s.Name)
		}
		if c := e.ValueFrom.ConfigMapKeyRef; c != nil {
			r.configMaps = append(r.configMaps, c.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			r.secrets = append(r.secrets, f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			r.configMaps = append(r.configMaps, f.ConfigMapRef.Name)
		}
	}
}

func (r *references) volume(pod string, v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		r.secrets = append(r.secrets, v.Secret.SecretName)
	case v.ConfigMap != nil:
		r.configMaps = append(r.configMaps, v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		r.claims = append(r.claims, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		r.claims = append(r.claims, pod+"-"+v.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				r.secrets = append(r.secrets, s.Secret.Name)
			}
			if s.ConfigMap != nil {
				r.configMaps = append(r.configMaps, s.ConfigMap.Name)
			}
		}
	default:
		if name := pluginSecret(&v.VolumeSource); name != "" {
			r.secrets = append(r.secrets, name)
		}
	}
}

// pluginSecret is the secret with which a network volume is mounted.
func pluginSecret(v *corev1.VolumeSource) string {
	local := func(r *corev1.LocalObjectReference) string {
		if r == nil {
			return ""
		}
		return r.Name
	}
	switch {
	case v.AzureFile != nil:
		return v.AzureFile.SecretName
	case v.CephFS != nil:
		return local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		return local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		return local(v.FlexVolume.SecretRef)
	case v.RBD != nil:
		return local(v.RBD.SecretRef)
	case v.ScaleIO != nil:
		return local(v.ScaleIO.SecretRef)
	case v.ISCSI != nil:
		return local(v.ISCSI.SecretRef)
	case v.StorageOS != nil:
		return local(v.StorageOS.SecretRef)
	case v.CSI != nil:
		return local(v.CSI.NodePublishSecretRef)
	}
	return ""
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
