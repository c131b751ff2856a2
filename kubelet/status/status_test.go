package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func input(change ...func(*Input)) Input {
	in := Input{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Generation: 4},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
		},
		Phase: corev1.PodRunning, Initialized: true, HostIPs: []string{"10.0.0.1"}, Runtime: "containerd", Now: now,
		Sandbox: &cri.Sandbox{ID: "s", Ready: true, IPs: []string{"10.1.0.2", "fd00::2"}},
	}
	for _, c := range change {
		c(&in)
	}
	return in
}

func has(c cri.Container) func(*Input) {
	return func(in *Input) {
		c.Name, c.Image, c.ImageRef = "c", "docker.io/library/busybox:latest", "docker.io/library/busybox@sha256:1"
		in.Containers = append(in.Containers, c)
	}
}

func condition(t *testing.T, s corev1.PodStatus, kind corev1.PodConditionType) corev1.PodCondition {
	t.Helper()
	c := find(s.Conditions, kind)
	if c == nil {
		t.Fatalf("no condition %s in %v", kind, s.Conditions)
	}
	return *c
}

func TestRunning(t *testing.T) {
	got := Compute(input(has(cri.Container{ID: "1", State: cri.Running, Started: now.Add(-time.Minute)})))
	if got.PodIP != "10.1.0.2" || len(got.PodIPs) != 2 || got.HostIP != "10.0.0.1" || got.ObservedGeneration != 4 || got.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("status %+v", got)
	}
	yes := true
	want := corev1.ContainerStatus{
		Name: "c", Ready: true, Started: &yes, Image: "docker.io/library/busybox:latest", ImageID: "docker.io/library/busybox@sha256:1",
		ContainerID: "containerd://1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-time.Minute))}},
		Resources: &corev1.ResourceRequirements{},
	}
	if diff := cmp.Diff(want, got.ContainerStatuses[0]); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	var order []corev1.PodConditionType
	for _, c := range got.Conditions {
		order = append(order, c.Type)
		if c.Status != corev1.ConditionTrue || c.ObservedGeneration != 4 {
			t.Errorf("condition %+v", c)
		}
	}
	if diff := cmp.Diff(own, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestStates(t *testing.T) {
	exited := func(attempt uint32, code int32, reason string) cri.Container {
		return cri.Container{ID: "x", Attempt: attempt, State: cri.Exited, ExitCode: code, Reason: reason, Started: now.Add(-time.Minute), Finished: now}
	}
	for _, c := range []struct {
		name               string
		in                 Input
		waiting, last, end string
		restarts           int32
		ready              bool
	}{
		{name: "not there yet", in: input(), waiting: "ContainerCreating"},
		{name: "behind init containers", waiting: "PodInitializing", in: input(func(in *Input) {
			in.Initialized, in.Pod.Spec.InitContainers = false, []corev1.Container{{Name: "i"}}
		})},
		{name: "image missing", waiting: "ErrImagePull", in: input(func(in *Input) {
			in.Waiting = map[string]corev1.ContainerStateWaiting{"c": {Reason: "ErrImagePull"}}
		})},
		{name: "crash loop", waiting: "CrashLoopBackOff", last: "Error", restarts: 2, in: input(has(exited(2, 1, "Error")), func(in *Input) {
			in.Waiting = map[string]corev1.ContainerStateWaiting{"c": {Reason: "CrashLoopBackOff"}}
		})},
		{name: "exited", end: "OOMKilled", restarts: 0, in: input(has(exited(0, 137, "OOMKilled")))},
		{name: "restarted", last: "Error", restarts: 1, ready: true, in: input(has(exited(0, 1, "Error")), has(cri.Container{ID: "2", Attempt: 1, State: cri.Running}))},
		{name: "not ready by its probe", in: input(has(cri.Container{ID: "2", State: cri.Running}), func(in *Input) {
			in.Health = map[string]Health{"2": {Started: true}}
		})},
		{name: "lost with its node's memory", waiting: "ContainerCreating", last: "ContainerStatusUnknown", restarts: 3, in: input(func(in *Input) {
			in.Pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "containerd://9", RestartCount: 3, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Compute(c.in).ContainerStatuses[0]
			reason := func(w *corev1.ContainerStateWaiting, e *corev1.ContainerStateTerminated) string {
				switch {
				case w != nil:
					return w.Reason
				case e != nil:
					return e.Reason
				}
				return ""
			}
			if got := reason(s.State.Waiting, nil); got != c.waiting {
				t.Errorf("waiting %q, want %q", got, c.waiting)
			}
			if got := reason(nil, s.State.Terminated); got != c.end {
				t.Errorf("terminated %q, want %q", got, c.end)
			}
			if got := reason(nil, s.LastTerminationState.Terminated); got != c.last {
				t.Errorf("last %q, want %q", got, c.last)
			}
			if s.RestartCount != c.restarts || s.Ready != c.ready {
				t.Errorf("restarts %d ready %t", s.RestartCount, s.Ready)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	got := Compute(input())
	if c := condition(t, got, corev1.ContainersReady); c.Status != corev1.ConditionFalse || c.Reason != "ContainersNotReady" || c.Message != "containers with unready status: [c]" {
		t.Errorf("%+v", c)
	}
	got = Compute(input(func(in *Input) {
		in.Initialized, in.Pod.Spec.InitContainers = false, []corev1.Container{{Name: "i"}, {Name: "j"}}
	}))
	if c := condition(t, got, corev1.PodInitialized); c.Status != corev1.ConditionFalse || c.Message != "containers with incomplete status: [i j]" {
		t.Errorf("%+v", c)
	}
	running := has(cri.Container{ID: "1", State: cri.Running})
	gate := func(in *Input) { in.Pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/y"}} }
	got = Compute(input(running, gate))
	if c := condition(t, got, corev1.PodReady); c.Reason != "ReadinessGatesNotReady" || c.Message != `corresponding condition of pod readiness gate "x/y" does not exist.` {
		t.Errorf("%+v", c)
	}
	old := metav1.NewTime(now.Add(-time.Hour))
	got = Compute(input(running, gate, func(in *Input) {
		in.Pod.Status.Conditions = []corev1.PodCondition{{Type: "x/y", Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: old}}
	}))
	if c := condition(t, got, corev1.PodReady); c.Status != corev1.ConditionTrue {
		t.Errorf("%+v", c)
	}
	if c := condition(t, got, corev1.PodScheduled); !c.LastTransitionTime.Equal(&old) {
		t.Errorf("a condition that did not change has a new transition: %+v", c)
	}
	if condition(t, got, "x/y").Status != corev1.ConditionTrue {
		t.Error("another's condition is lost")
	}
	got = Compute(input(func(in *Input) { in.Phase = corev1.PodSucceeded }))
	if c := condition(t, got, corev1.PodReady); c.Reason != "PodCompleted" {
		t.Errorf("%+v", c)
	}
}

func TestQOS(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	for _, c := range []struct {
		want             corev1.PodQOSClass
		requests, limits corev1.ResourceList
	}{
		{corev1.PodQOSBestEffort, nil, nil},
		{corev1.PodQOSBurstable, list("1", ""), nil},
		{corev1.PodQOSBurstable, list("1", "1Gi"), list("2", "1Gi")},
		{corev1.PodQOSBurstable, nil, list("2", "")},
		{corev1.PodQOSGuaranteed, list("1", "1Gi"), list("1", "1Gi")},
		{corev1.PodQOSGuaranteed, nil, list("1", "1Gi")},
	} {
		in := input(func(in *Input) {
			in.Pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}
		})
		if got := QOS(in.Pod); got != c.want {
			t.Errorf("%v %v: got %s, want %s", c.requests, c.limits, got, c.want)
		}
	}
}
