package podspec

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestTemplateWarnings(t *testing.T) {
	type tpl = *corev1.PodTemplateSpec
	c := func(x tpl) *corev1.Container { return &x.Spec.Containers[0] }
	volume := func(x tpl, s corev1.VolumeSource) { x.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: s}} }
	for name, tt := range map[string]struct {
		change func(tpl)
		want   []string
	}{
		"nothing": {func(tpl) {}, nil},
		"node label": {func(x tpl) { x.Spec.NodeSelector = map[string]string{"beta.kubernetes.io/os": "linux"} },
			[]string{`template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`}},
		"spread": {func(x tpl) {
			x.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: "failure-domain.beta.kubernetes.io/zone"}}
		}, []string{
			`template.spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
			`template.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod`,
		}},
		"preference": {func(x tpl) {
			x.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "a", Values: []string{"-"}}}}},
			}}}
		}, []string{`template.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: - is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		"seccomp": {func(x tpl) { x.Annotations = map[string]string{corev1.SeccompPodAnnotationKey: "x"} },
			[]string{`template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`}},
		"apparmor": {func(x tpl) {
			x.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
		},
			[]string{`template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead`}},
		"git": {func(x tpl) { volume(x, corev1.VolumeSource{GitRepo: &corev1.GitRepoVolumeSource{}}) },
			[]string{`template.spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+`}},
		"paths": {func(x tpl) {
			volume(x, corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}, Items: []corev1.KeyToPath{{Path: "a"}, {Path: "a/b"}}}})
		}, []string{`volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"`}},
		"projected": {func(x tpl) {
			volume(x, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Items: []corev1.KeyToPath{{Path: "token"}}}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}, {},
			}}})
		}, []string{
			`volume "v" (Projected): overlapping paths: "token" (ServiceAccountToken) with "token" (Secret "s")`, `volume "v" (Projected) has no sources provided`,
		}},
		"fraction": {func(x tpl) {
			c(x).Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100m")}
		},
			[]string{`template.spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`}},
		"environment": {func(x tpl) { c(x).Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}} },
			[]string{`template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`}},
		"environment that builds on itself": {func(x tpl) { c(x).Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "$(A):2"}} }, nil},
		"ports": {func(x tpl) {
			c(x).Ports = []corev1.ContainerPort{{Name: "p", ContainerPort: 80, Protocol: "TCP"}, {Name: "p", ContainerPort: 80, Protocol: "TCP", HostPort: 1}, {ContainerPort: 81, HostIP: "1.2.3.4", Protocol: "UDP"}}
		}, []string{
			`template.spec.containers[0].ports[1]: overlapping port definition with template.spec.containers[0].ports[0]`,
			`template.spec.containers[0].ports[2]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:UDP HostIP:1.2.3.4}`,
			`template.spec.containers[0].ports[1]: duplicate port name "p" with template.spec.containers[0].ports[0], services and probes that select ports by name will use template.spec.containers[0].ports[0]`,
		}},
		"lists": {func(x tpl) {
			x.Spec.HostAliases = []corev1.HostAlias{{IP: "1.1.1.1"}, {IP: "1.1.1.1"}}
			x.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}, {Name: "a"}, {}}
		}, []string{
			`template.spec.hostAliases[1].ip: duplicate ip "1.1.1.1"`, `template.spec.imagePullSecrets[1].name: duplicate name "a"`,
			`template.spec.imagePullSecrets[2].name: invalid empty name ""`,
		}},
		"grace": {func(x tpl) { x.Spec.TerminationGracePeriodSeconds = new(int64(-1)) },
			[]string{`template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`}},
	} {
		t.Run(name, func(t *testing.T) {
			x := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
			tt.change(x)
			if got := TemplateWarnings(x, field.NewPath("template")); !slices.Equal(got, tt.want) {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
		})
	}
}
