package framework

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func cpu(n string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n)}}
}

func TestRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	both := cpu("1500m")
	both.Requests[corev1.ResourceMemory] = resource.MustParse("1Gi")
	for _, test := range []struct {
		name          string
		spec          corev1.PodSpec
		cpu, nonZero  int64
		nonZeroMemory int64
	}{
		{"nothing asked", corev1.PodSpec{Containers: []corev1.Container{{}, {}}}, 0, 200, 2 * DefaultMemoryRequest},
		{"sum of containers", corev1.PodSpec{Containers: []corev1.Container{{Resources: cpu("1")}, {Resources: cpu("500m")}}}, 1500, 1500, 2 * DefaultMemoryRequest},
		{"largest init container", corev1.PodSpec{
			InitContainers: []corev1.Container{{Resources: cpu("3")}, {Resources: cpu("2")}}, Containers: []corev1.Container{{Resources: cpu("1")}},
		}, 3000, 3000, DefaultMemoryRequest},
		{"sidecar beside", corev1.PodSpec{
			InitContainers: []corev1.Container{{Resources: cpu("300m"), RestartPolicy: &always}}, Containers: []corev1.Container{{Resources: cpu("1")}},
		}, 1300, 1300, 2 * DefaultMemoryRequest},
		{"overhead", corev1.PodSpec{Containers: []corev1.Container{{Resources: cpu("1")}}, Overhead: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}}, 1250, 1250, DefaultMemoryRequest},
		{"pod level", corev1.PodSpec{Containers: []corev1.Container{{Resources: cpu("1")}}, Resources: &both}, 1500, 1500, 1 << 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := NewPodInfo(&corev1.Pod{Spec: test.spec})
			if err != nil {
				t.Fatal(err)
			}
			if p.Requests.MilliCPU != test.cpu || p.NonZeroCPU != test.nonZero || p.NonZeroMemory != test.nonZeroMemory {
				t.Errorf("cpu %d, scored as %d, memory scored as %d; want %d, %d, %d", p.Requests.MilliCPU, p.NonZeroCPU, p.NonZeroMemory, test.cpu, test.nonZero, test.nonZeroMemory)
			}
		})
	}
}

func TestRefreshRecomputesWhatChanged(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: cpu("1")}}}}
	pod.Generation = 1
	p, err := NewPodInfo(pod)
	if err != nil {
		t.Fatal(err)
	}
	touched := pod.DeepCopy()
	touched.Status.Phase = corev1.PodRunning
	if same, err := p.Refresh(touched); err != nil || same.Requests.MilliCPU != 1000 || same.Pod != touched {
		t.Errorf("%+v, %v", same, err)
	}
	resized := pod.DeepCopy()
	resized.Generation, resized.Spec.Containers[0].Resources = 2, cpu("2")
	if other, err := p.Refresh(resized); err != nil || other.Requests.MilliCPU != 2000 {
		t.Errorf("%+v, %v", other, err)
	}
	actuating := pod.DeepCopy()
	actuating.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", AllocatedResources: cpu("3").Requests}}
	if other, err := p.Refresh(actuating); err != nil || other.Requests.MilliCPU != 3000 {
		t.Errorf("%+v, %v", other, err)
	}
}
