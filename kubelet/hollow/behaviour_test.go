package hollow

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestDecide(t *testing.T) {
	job := []metav1.OwnerReference{{Kind: "Job", Controller: new(true)}}
	always, never, onFailure := corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure
	for name, tt := range map[string]struct {
		owners      []metav1.OwnerReference
		policy      corev1.RestartPolicy
		annotations map[string]string
		status      corev1.PodStatus
		want        fate
	}{
		"a service runs":              {nil, always, nil, corev1.PodStatus{}, fate{phase: corev1.PodRunning, ready: true}},
		"a service isn't ready":       {nil, always, map[string]string{ReadyAnnotation: "false"}, corev1.PodStatus{}, fate{phase: corev1.PodRunning}},
		"a service is restarted":      {nil, always, map[string]string{ExitAnnotation: "1"}, corev1.PodStatus{}, fate{phase: corev1.PodRunning, ready: true}},
		"a job's pod is done":         {job, never, nil, corev1.PodStatus{}, fate{phase: corev1.PodSucceeded, ready: true}},
		"a job's pod runs on":         {job, never, map[string]string{ExitAnnotation: "never"}, corev1.PodStatus{}, fate{phase: corev1.PodRunning, ready: true}},
		"a job's pod fails":           {job, never, map[string]string{ExitAnnotation: "7"}, corev1.PodStatus{}, fate{phase: corev1.PodFailed, code: 7, ready: true}},
		"a failed container restarts": {job, onFailure, map[string]string{ExitAnnotation: "7"}, corev1.PodStatus{}, fate{phase: corev1.PodRunning, ready: true}},
		"evicted":                     {nil, always, map[string]string{EvictedAnnotation: "true"}, corev1.PodStatus{}, fate{phase: corev1.PodFailed, code: 137, reason: "Evicted", ready: true}},
		"an end is an end": {nil, always, nil, corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"},
			fate{phase: corev1.PodFailed, reason: "Evicted", ready: true}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: tt.owners, Annotations: tt.annotations}, Spec: corev1.PodSpec{RestartPolicy: tt.policy}, Status: tt.status}
			if got := decide(p); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestSilentNode(t *testing.T) {
	nodes, client := start(t, 1)
	ctx := t.Context()
	silence := func(yes string) {
		patch := `{"metadata":{"annotations":{"` + SilentAnnotation + `":"` + yes + `"}}}`
		if _, err := client.CoreV1().Nodes().Patch(ctx, "hollow-0", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "registered", func() bool {
		n, exists := nodes.node("hollow-0")
		return exists && ready(n)
	})
	silence("true")
	await(t, "silent", func() bool { return nodes.silent("hollow-0") })
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "u"},
		Spec:       corev1.PodSpec{NodeName: "hollow-0", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "known", func() bool { return len(nodes.informer.GetStore().List()) == 1 })
	if got, err := client.CoreV1().Pods("default").Get(ctx, "p", metav1.GetOptions{}); err != nil || got.Status.Phase != "" {
		t.Errorf("a pod of a silent node is %q, %v", got.Status.Phase, err)
	}
	silence("false")
	await(t, "running", func() bool {
		got, err := client.CoreV1().Pods("default").Get(ctx, "p", metav1.GetOptions{})
		return err == nil && got.Status.Phase == corev1.PodRunning
	})
}
