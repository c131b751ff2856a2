package serviceaccount

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	volumePrefix = "kube-api-access-"
	mountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	rootCA       = "kube-root-ca.crt"
	// The odd seconds mark the tokens of this volume: the server extends them for
	// clients that read the file only once.
	tokenSeconds = 60*60 + 7
	fileMode     = 0o644
)

// mount adds the token volume and mounts it into every container that has
// nothing at the well-known path.
func (p *Plugin) mount(pod *corev1.Pod) {
	name, exists := "", false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, volumePrefix) {
			name, exists = v.Name, true
			break
		}
	}
	if !exists {
		name = p.name(volumePrefix)
	}
	needed := mountInto(pod.Spec.InitContainers, name)
	needed = mountInto(pod.Spec.Containers, name) || needed
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, volume(name))
	}
}

func mountInto(containers []corev1.Container, volume string) bool {
	any := false
	for i := range containers {
		c := &containers[i]
		if mounted(c) {
			continue
		}
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: mountPath})
		any = true
	}
	return any
}

func mounted(c *corev1.Container) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == mountPath {
			return true
		}
	}
	return false
}

func volume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](fileMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](tokenSeconds)}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCA},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}}}
}
