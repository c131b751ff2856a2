package horizontalpodautoscaler

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStarting(t *testing.T) {
	const never = time.Duration(-1)
	yes, no, unknown := corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	tests := []struct {
		name string
		// start and changed are how long ago the pod started and its readiness changed, sampled is how long ago the
		// sample was taken, over window.
		start, changed, sampled, window time.Duration
		ready                           corev1.ConditionStatus
		want                            bool
	}{
		{"no condition", time.Hour, never, 0, 0, "", true},
		{"no start", never, time.Minute, 0, 0, yes, true},
		{"ready, sampled since", time.Minute, 30 * time.Second, 0, 30 * time.Second, yes, false},
		{"ready, sampled partly before", time.Minute, 30 * time.Second, 0, time.Minute, yes, true},
		{"not ready, starts", time.Minute, 50 * time.Second, 0, time.Second, no, true},
		{"perhaps ready, starts, sampled since", time.Minute, 30 * time.Second, 0, time.Second, unknown, false},
		{"ready long ago", 3 * time.Minute, 3 * time.Minute, 2 * time.Minute, time.Minute, yes, false},
		{"never ready", 10 * time.Minute, 10*time.Minute - 6*time.Second, 0, 0, no, true},
		{"unready after the delay", 10 * time.Minute, 10*time.Minute - 10*time.Second, 0, 0, no, false},
		{"was ready", 10 * time.Minute, 9 * time.Minute, 0, 0, no, false},
		{"the period has just ended", 2 * time.Minute, time.Second, time.Minute, time.Minute, yes, false},
		{"the period is about to end", 2*time.Minute - time.Second, time.Second, time.Minute, time.Minute, yes, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &corev1.Pod{}
			if tt.start != never {
				p.Status.StartTime = new(metav1.NewTime(epoch().Add(-tt.start)))
			}
			if tt.ready != "" {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: tt.ready, LastTransitionTime: metav1.NewTime(epoch().Add(-tt.changed))}}
			}
			if got := starting(p, Sample{At: epoch().Add(-tt.sampled), Window: tt.window}, patience, epoch()); got != tt.want {
				t.Errorf("starting is %v", got)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	tests := []struct {
		pods             string
		resource         corev1.ResourceName
		ready            int
		unready, missing string
		samples          int
	}{
		{"1", corev1.ResourceCPU, 1, "", "", 1},
		{"1 h1 u1", corev1.ResourceCPU, 1, "1 2", "", 1},
		{"1 h1 u1", corev1.ResourceMemory, 3, "", "", 3},
		{"1 - u-", corev1.ResourceCPU, 1, "", "1 2", 1},
		{"1 p1 p-", corev1.ResourceCPU, 1, "1 2", "", 1},
		{"1 dp1 x1 d- x-", corev1.ResourceCPU, 1, "", "", 1},
	}
	for _, tt := range tests {
		pods, samples := read(t, tt.pods)
		g, err := group(pods, samples, tt.resource, patience, epoch())
		if err != nil || g.ready != tt.ready || strings.Join(g.unready, " ") != tt.unready || strings.Join(g.missing, " ") != tt.missing || len(g.samples) != tt.samples {
			t.Errorf("%s of %q: %+v, %v", tt.resource, tt.pods, g, err)
		}
	}
	for line, want := range map[string]error{"": errNoPods, "- -": errNoSamples, "u1 p1 d1": errNoSamples} {
		pods, samples := read(t, line)
		if _, err := group(pods, samples, corev1.ResourceCPU, patience, epoch()); err != want {
			t.Errorf("%q: %v, want %v", line, err, want)
		}
	}
	pods, _ := read(t, "-")
	if g, err := group(pods, Samples{"stranger": {}}, "", patience, epoch()); err != nil || !slices.Equal(g.missing, []string{"0"}) {
		t.Errorf("only the sample of a stranger: %+v, %v", g, err)
	}
}

func TestRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	with := func(change func(*corev1.PodSpec)) *corev1.Pod {
		p := pod("web", "100m", "")
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "log", Resources: requesting("50m")})
		change(&p.Spec)
		return p
	}
	two := with(func(*corev1.PodSpec) {})
	whole := with(func(s *corev1.PodSpec) { s.Resources = new(requesting("800m")) })
	sidecar := with(func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "init", Resources: requesting("20m")}, {Name: "mesh", RestartPolicy: &always, Resources: requesting("7m")}}
	})
	bare := with(func(s *corev1.PodSpec) { s.Containers[1].Resources = corev1.ResourceRequirements{} })
	tests := []struct {
		name      string
		pod       *corev1.Pod
		container string
		resource  corev1.ResourceName
		want      int64
		err       string
	}{
		{"all containers", two, "", corev1.ResourceCPU, 150, ""},
		{"one container", two, "log", corev1.ResourceCPU, 50, ""},
		{"the pod's own", whole, "", corev1.ResourceCPU, 800, ""},
		{"one container before the pod's own", whole, "app", corev1.ResourceCPU, 100, ""},
		{"the pod's own says nothing of it", whole, "", corev1.ResourceMemory, 0, "missing pod-level request for memory in Pod web"},
		{"sidecars count, init containers do not", sidecar, "", corev1.ResourceCPU, 157, ""},
		{"a sidecar", sidecar, "mesh", corev1.ResourceCPU, 7, ""},
		{"an init container", sidecar, "init", corev1.ResourceCPU, 0, "container init not found in Pod web"},
		{"a container without", bare, "", corev1.ResourceCPU, 0, "missing request for cpu in container log of Pod web"},
		{"another container without", bare, "app", corev1.ResourceCPU, 100, ""},
		{"no such container", two, "ghost", corev1.ResourceCPU, 0, "container ghost not found in Pod web"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := requests([]*corev1.Pod{tt.pod}, tt.container, tt.resource)
			if text(err) != tt.err || got["web"] != tt.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestUtilizationOfStrangers(t *testing.T) {
	if _, _, _, err := utilization(Samples{"stranger": {Value: 5}}, map[string]int64{"web": 100}, 50); text(err) != "no metrics returned matched known pods" {
		t.Errorf("got %v", err)
	}
	ratio, percent, average, err := utilization(Samples{"stranger": {Value: 5}, "web": {Value: 50}}, map[string]int64{"web": 100}, 25)
	if ratio != 2 || percent != 50 || average != 50 || err != nil {
		t.Errorf("got %v, %d%%, %d, %v", ratio, percent, average, err)
	}
}
