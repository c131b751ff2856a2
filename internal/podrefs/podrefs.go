// Package podrefs finds the secrets, config maps and claims that a pod's spec names.
package podrefs

import corev1 "k8s.io/api/core/v1"

// Names are the names of objects in the pod's own namespace.
type Names struct{ Secrets, ConfigMaps, Claims []string }

// Of answers what the pod names.
func Of(pod *corev1.Pod) Names {
	var r Names
	spec := &pod.Spec
	for _, s := range spec.ImagePullSecrets {
		r.Secrets = append(r.Secrets, s.Name)
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

func (r *Names) container(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if s := e.ValueFrom.SecretKeyRef; s != nil {
			r.Secrets = append(r.Secrets, s.Name)
		}
		if c := e.ValueFrom.ConfigMapKeyRef; c != nil {
			r.ConfigMaps = append(r.ConfigMaps, c.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			r.Secrets = append(r.Secrets, f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			r.ConfigMaps = append(r.ConfigMaps, f.ConfigMapRef.Name)
		}
	}
}

func (r *Names) volume(pod string, v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		r.Secrets = append(r.Secrets, v.Secret.SecretName)
	case v.ConfigMap != nil:
		r.ConfigMaps = append(r.ConfigMaps, v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		r.Claims = append(r.Claims, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		r.Claims = append(r.Claims, pod+"-"+v.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				r.Secrets = append(r.Secrets, s.Secret.Name)
			}
			if s.ConfigMap != nil {
				r.ConfigMaps = append(r.ConfigMaps, s.ConfigMap.Name)
			}
		}
	default:
		if name := pluginSecret(&v.VolumeSource); name != "" {
			r.Secrets = append(r.Secrets, name)
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
