package resourcequota_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktest "k8s.io/utils/clock/testing"

	"skiff/controllers/resourcequota"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestStatus(t *testing.T) {
	hard := list("pods", "5", "cpu", "2")
	tests := map[string]struct {
		was      corev1.ResourceQuotaStatus
		measured corev1.ResourceList
		used     corev1.ResourceList
		changed  bool
	}{
		"new":               {corev1.ResourceQuotaStatus{}, list("pods", "1", "cpu", "1", "memory", "9"), list("pods", "1", "cpu", "1"), true},
		"nothing new":       {corev1.ResourceQuotaStatus{Hard: list("pods", "5", "cpu", "2000m"), Used: list("pods", "1", "cpu", "1000m")}, list("pods", "1", "cpu", "1"), list("pods", "1", "cpu", "1"), false},
		"less":              {corev1.ResourceQuotaStatus{Hard: hard, Used: list("pods", "2", "cpu", "1")}, list("pods", "1", "cpu", "1"), list("pods", "1", "cpu", "1"), true},
		"other limits":      {corev1.ResourceQuotaStatus{Hard: list("pods", "5", "memory", "1"), Used: list("pods", "1", "memory", "1")}, list("pods", "1", "cpu", "1"), list("pods", "1", "cpu", "1"), true},
		"could not measure": {corev1.ResourceQuotaStatus{Hard: hard, Used: list("pods", "4", "cpu", "1")}, list("cpu", "1"), list("pods", "4", "cpu", "1"), false},
		"never measured":    {corev1.ResourceQuotaStatus{Hard: hard}, list("cpu", "1"), list("cpu", "1"), true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, changed := resourcequota.Status(&corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard}, Status: tc.was}, tc.measured)
			if changed != tc.changed || len(got.Used) != len(tc.used) || len(got.Hard) != len(hard) {
				t.Fatalf("%v, %+v", changed, got)
			}
			for n, want := range tc.used {
				if q := got.Used[n]; q.Cmp(want) != 0 {
					t.Errorf("%s: %s used", n, q.String())
				}
			}
		})
	}
}

func TestCounted(t *testing.T) {
	got := resourcequota.Counted([]corev1.ResourceName{"pods", "count/widgets.example.com", "configmaps", "count/configmaps", "requests.cpu"})
	if fmt.Sprint(got) != "[configmaps widgets.example.com]" {
		t.Errorf("got %v", got)
	}
}

func TestFrees(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	pod := func(edit func(*corev1.Pod)) metav1.Object {
		p := &corev1.Pod{}
		edit(p)
		return p
	}
	runs := pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
	sized := func(cpu string) metav1.Object {
		return pod(func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Resources: &corev1.ResourceRequirements{Requests: list("cpu", cpu)}}}
		})
	}
	service := func(kind corev1.ServiceType) metav1.Object {
		return &corev1.Service{Spec: corev1.ServiceSpec{Type: kind}}
	}
	tests := map[string]struct {
		before, after metav1.Object
		want          bool
	}{
		"ended":         {runs, pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), true},
		"only labelled": {runs, pod(func(p *corev1.Pod) { p.Status.Phase, p.Labels = corev1.PodRunning, map[string]string{"a": "b"} }), false},
		"deadline":      {runs, pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(1)) }), true},
		"resized":       {sized("2"), sized("1"), true},
		"same size":     {sized("1"), sized("1000m"), false},
		"another type":  {service(corev1.ServiceTypeNodePort), service(corev1.ServiceTypeClusterIP), true},
		"same type":     {service(corev1.ServiceTypeNodePort), service(corev1.ServiceTypeNodePort), false},
		"claim shrinks": {&corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{AllocatedResources: list("storage", "2")}}, &corev1.PersistentVolumeClaim{}, true},
		"anything else": {&corev1.Secret{}, &corev1.Secret{}, false},
	}
	for name, tc := range tests {
		if got := resourcequota.Frees(tc.before, tc.after, clocktest.NewFakePassiveClock(now)); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
