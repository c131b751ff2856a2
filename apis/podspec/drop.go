package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

// DropTemplate is Drop for a pod template; old is nil on create.
func DropTemplate(t, old *corev1.PodTemplateSpec) {
	if old == nil {
		Drop(&t.Spec, nil)
		return
	}
	Drop(&t.Spec, &old.Spec)
}

// Drop removes the fields whose feature is off in v1.37 by default. The API
// accepts and forgets them. Nothing stored ever has them, so old, which is nil
// on create, doesn't make a difference yet; it will when a feature can be
// turned off again.
func Drop(s, _ *corev1.PodSpec) {
	s.SchedulingGroup = nil
	s.EvictionResponders = nil
	for i := range s.Volumes {
		dropVolume(&s.Volumes[i].VolumeSource)
	}
	for i := range s.InitContainers {
		dropContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		dropContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		dropContainer(&c)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
}

func dropContainer(c *corev1.Container) {
	for i := range c.VolumeMounts {
		c.VolumeMounts[i].BindMountOptions = nil
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		dropHTTP(p.HTTPGet)
		if p.GRPC != nil {
			p.GRPC.Mode = nil
		}
	}
	if l := c.Lifecycle; l != nil {
		if l.StopSignal != nil {
			if l.StopSignal = nil; *l == (corev1.Lifecycle{}) {
				c.Lifecycle = nil
			}
		}
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil {
				dropHTTP(h.HTTPGet)
			}
		}
	}
}

func dropHTTP(h *corev1.HTTPGetAction) {
	if h != nil {
		h.Protocol = nil
	}
}

func dropVolume(v *corev1.VolumeSource) {
	switch {
	case v.EmptyDir != nil:
		v.EmptyDir.Mode = nil
	case v.Secret != nil:
		v.Secret.DefaultUser = nil
		dropItems(v.Secret.Items)
	case v.ConfigMap != nil:
		v.ConfigMap.DefaultUser = nil
		dropItems(v.ConfigMap.Items)
	case v.DownwardAPI != nil:
		v.DownwardAPI.DefaultUser = nil
		dropFiles(v.DownwardAPI.Items)
	case v.Projected != nil:
		v.Projected.DefaultUser = nil
		for i := range v.Projected.Sources {
			dropProjection(&v.Projected.Sources[i])
		}
	}
}

func dropProjection(p *corev1.VolumeProjection) {
	if p.Secret != nil {
		dropItems(p.Secret.Items)
	}
	if p.ConfigMap != nil {
		dropItems(p.ConfigMap.Items)
	}
	if p.DownwardAPI != nil {
		dropFiles(p.DownwardAPI.Items)
	}
	if p.ServiceAccountToken != nil {
		p.ServiceAccountToken.User = nil
	}
	if p.ClusterTrustBundle != nil {
		p.ClusterTrustBundle.User = nil
	}
	if p.PodCertificate != nil {
		p.PodCertificate.User = nil
	}
}

func dropItems(items []corev1.KeyToPath) {
	for i := range items {
		items[i].User = nil
	}
}

func dropFiles(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		files[i].User = nil
	}
}

// NormalizeDataSources makes a claim's dataSource and dataSourceRef say the
// same, as they must when either is given. On create, where old is nil, a
// dataSource of a kind that only dataSourceRef can name is forgotten, and so is
// a source in another namespace: that feature is off.
func NormalizeDataSources(s, old *corev1.PersistentVolumeClaimSpec) {
	if d := s.DataSource; d != nil && (old == nil || old.DataSource == nil) && !plainSource(d) {
		s.DataSource = nil
	}
	if r := s.DataSourceRef; r != nil && (old == nil || old.DataSourceRef == nil) && r.Namespace != nil && *r.Namespace != "" {
		s.DataSourceRef = nil
	}
	switch {
	case s.DataSource != nil && s.DataSourceRef == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: s.DataSource.APIGroup, Kind: s.DataSource.Kind, Name: s.DataSource.Name}
	case s.DataSourceRef != nil && s.DataSource == nil && (s.DataSourceRef.Namespace == nil || *s.DataSourceRef.Namespace == ""):
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: s.DataSourceRef.APIGroup, Kind: s.DataSourceRef.Kind, Name: s.DataSourceRef.Name}
	}
}

// plainSource reports whether dataSource itself can name the kind.
func plainSource(d *corev1.TypedLocalObjectReference) bool {
	group := ""
	if d.APIGroup != nil {
		group = *d.APIGroup
	}
	return (group == "" && d.Kind == "PersistentVolumeClaim") || (group == "snapshot.storage.k8s.io" && d.Kind == "VolumeSnapshot")
}
