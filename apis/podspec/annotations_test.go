package podspec

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestValidatePodAnnotations(t *testing.T) {
	t.Parallel()
	const mirror, appArmor = corev1.MirrorPodAnnotationKey, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "c"
	pod := func(node string, annotations map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: corev1.PodSpec{NodeName: node}}
	}
	for name, c := range map[string]struct {
		now, old *corev1.Pod
		want     string
	}{
		"nothing":              {pod("", nil), nil, ""},
		"a mirror on a node":   {pod("n", map[string]string{mirror: "x"}), nil, ""},
		"a mirror nowhere":     {pod("", map[string]string{mirror: "x"}), nil, `a[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set`},
		"another mirror":       {pod("n", map[string]string{mirror: "y"}), pod("n", map[string]string{mirror: "x"}), "a[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"},
		"a mirror later":       {pod("n", map[string]string{mirror: "y"}), pod("n", nil), "a[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"},
		"no AppArmor any more": {pod("n", nil), pod("n", map[string]string{appArmor: "unconfined"}), "a[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not remove or update AppArmor annotations"},
		"AppArmor later":       {pod("n", map[string]string{appArmor: "unconfined"}), pod("n", nil), "a[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not add AppArmor annotations"},
		"a cost":               {pod("", map[string]string{podDeletionCost: "-7"}), nil, ""},
		"a cost with a plus":   {pod("", map[string]string{podDeletionCost: "+7"}), nil, `a[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+7": must be a 32bit integer`},
		"a cost with a zero":   {pod("", map[string]string{podDeletionCost: "07"}), pod("", nil), `a[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "07": must be a 32bit integer`},
		"a cost that was bad":  {pod("", map[string]string{podDeletionCost: "x"}), pod("", map[string]string{podDeletionCost: "y"}), ""},
		"a cost too large":     {pod("", map[string]string{podDeletionCost: "4294967296"}), nil, `a[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "4294967296": must be a 32bit integer`},
		"seccomp":              {pod("", map[string]string{podSeccomp: "localhost/a/b", containerSeccomp + "c": "runtime/default"}), nil, ""},
		"seccomp of nothing":   {pod("", map[string]string{podSeccomp: "strict"}), nil, `a.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "strict": must be a valid seccomp profile`},
		"seccomp outside":      {pod("", map[string]string{containerSeccomp + "c": "localhost/../b"}), nil, `a.container.seccomp.security.alpha.kubernetes.io/c: Invalid value: "../b": must not contain '..'`},
	} {
		got := ""
		if err := validatePodAnnotations(c.now, c.old, field.NewPath("a")).ToAggregate(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
