package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SyncAppArmor reads the AppArmor profiles of a new pod from the annotations
// that came before the fields, for containers whose field is not set.
func SyncAppArmor(meta *metav1.ObjectMeta, s *corev1.PodSpec) {
	if s.OS != nil && s.OS.Name == corev1.Windows {
		return
	}
	var pod *corev1.AppArmorProfile
	if s.SecurityContext != nil {
		pod = s.SecurityContext.AppArmorProfile
	}
	fill := func(containers []corev1.Container) {
		for i := range containers {
			c := &containers[i]
			text, ok := meta.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
			want := parseAppArmor(text)
			if !ok || want == nil || equalAppArmor(want, pod) || (c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil) {
				continue
			}
			setPointer(&c.SecurityContext, corev1.SecurityContext{})
			c.SecurityContext.AppArmorProfile = want
		}
	}
	fill(s.InitContainers)
	fill(s.Containers)
}

func parseAppArmor(text string) *corev1.AppArmorProfile {
	switch {
	case text == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case text == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case strings.HasPrefix(text, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
		if name := strings.TrimPrefix(text, corev1.DeprecatedAppArmorBetaProfileNamePrefix); name != "" {
			return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
		}
	}
	return nil
}

func equalAppArmor(a, b *corev1.AppArmorProfile) bool {
	if a == nil || b == nil || a.Type != b.Type {
		return a == b
	}
	return (a.LocalhostProfile == nil) == (b.LocalhostProfile == nil) && (a.LocalhostProfile == nil || *a.LocalhostProfile == *b.LocalhostProfile)
}
