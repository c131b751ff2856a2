package podspec

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func minimal(change ...func(*corev1.PodSpec)) *corev1.PodSpec {
	s := &corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app:1"}}}
	for _, f := range change {
		f(s)
	}
	SetDefaults(s)
	return s
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"app": corev1.PullAlways, "app:latest": corev1.PullAlways, "app:1": corev1.PullIfNotPresent,
		"reg:5000/app": corev1.PullAlways, "reg:5000/app:1": corev1.PullIfNotPresent, "a..b": corev1.PullIfNotPresent, "": corev1.PullIfNotPresent,
		"app@sha256:0123456789012345678901234567890123456789012345678901234567890123": corev1.PullIfNotPresent,
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%q: got %s, want %s", image, got, want)
		}
	}
}

func TestQOS(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for _, tc := range []struct {
		name string
		r    corev1.ResourceRequirements
		want corev1.PodQOSClass
	}{
		{"nothing", corev1.ResourceRequirements{}, corev1.PodQOSBestEffort},
		{"requests", corev1.ResourceRequirements{Requests: list("1", "1Gi")}, corev1.PodQOSBurstable},
		{"equal", corev1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("1", "1Gi")}, corev1.PodQOSGuaranteed},
		{"above", corev1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("2", "1Gi")}, corev1.PodQOSBurstable},
	} {
		if got := QOS(minimal(func(s *corev1.PodSpec) { s.Containers[0].Resources = tc.r })); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*corev1.PodSpec)
		want   string
	}{
		{"valid", func(*corev1.PodSpec) {}, ""},
		{"no containers", func(s *corev1.PodSpec) { s.Containers = nil }, "spec.containers: Required value"},
		{"container name", func(s *corev1.PodSpec) { s.Containers[0].Name = "" }, "spec.containers[0].name: Required value"},
		{"restart policy", func(s *corev1.PodSpec) { s.RestartPolicy = "Often" }, `spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "OnFailure", "Never"`},
		{"mount", func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		}, `spec.containers[0].volumeMounts[0].name: Not found: "v"`},
		{"requests above limits", func(s *corev1.PodSpec) {
			s.Containers[0].Resources = corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("2")}, Limits: corev1.ResourceList{"cpu": resource.MustParse("1")},
			}
		}, `spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`},
		{"probe without handler", func(s *corev1.PodSpec) { s.Containers[0].ReadinessProbe = &corev1.Probe{} }, "spec.containers[0].readinessProbe: Required value: must specify a handler type"},
		{"weight", func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{}}}}
		}, "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"},
	} {
		got := ""
		if err := Validate(minimal(tc.change), nil, field.NewPath("spec")).ToAggregate(); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestPodUpdate(t *testing.T) {
	old := &corev1.Pod{Spec: *minimal()}
	for _, tc := range []struct {
		name   string
		change func(*corev1.PodSpec)
		ok     bool
	}{
		{"image", func(s *corev1.PodSpec) { s.Containers[0].Image = "app:2" }, true},
		{"deadline", func(s *corev1.PodSpec) { n := int64(5); s.ActiveDeadlineSeconds = &n }, true},
		{"toleration", func(s *corev1.PodSpec) {
			s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists})
		}, true},
		{"command", func(s *corev1.PodSpec) { s.Containers[0].Command = []string{"sh"} }, false},
		{"node", func(s *corev1.PodSpec) { s.NodeName = "n" }, false},
		{"gate", func(s *corev1.PodSpec) { s.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} }, false},
	} {
		now := old.DeepCopy()
		tc.change(&now.Spec)
		if errs := ValidatePodUpdate(now, old); (len(errs) == 0) != tc.ok {
			t.Errorf("%s: allowed %v, want %v: %v", tc.name, len(errs) == 0, tc.ok, errs)
		}
	}
}

func TestUntagged(t *testing.T) {
	got, err := json.Marshal(untagged(corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, TopologyKey: "z"}))
	want := `{"LabelSelector":{"matchLabels":{"a":"b"}},"Namespaces":null,"TopologyKey":"z","NamespaceSelector":null,"MatchLabelKeys":null,"MismatchLabelKeys":null}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}
