package pod

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// TestPhaseOfFailedPod looks at a pod that the node fails while its container ends well: before and after the rest of it is gone.
func TestPhaseOfFailedPod(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c"}}}}
	pod.Status.Phase = corev1.PodRunning
	end := &End{Reason: "DeadlineExceeded", Since: time.Now(), Failed: true}
	for _, c := range []struct {
		name  string
		state cri.State
		end   *End
		over  bool
		want  corev1.PodPhase
	}{
		{"still running", cri.Running, end, false, corev1.PodRunning},
		{"container done", cri.Exited, end, false, corev1.PodFailed},
		{"all gone", cri.Exited, end, true, corev1.PodFailed},
		{"done by itself", cri.Exited, nil, false, corev1.PodSucceeded},
	} {
		in := Input{Pod: pod, Memory: NewMemory(), Now: time.Now()}
		in.Seen.Containers = []cri.Container{{ID: "1", Name: "c", State: c.state}}
		if got := Phase(in, Plan{End: c.end, Over: c.over}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
