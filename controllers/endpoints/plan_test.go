package endpoints

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(change ...func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("www"), Protocol: corev1.ProtocolTCP}},
	}}
	for _, f := range change {
		f(&s.Spec)
	}
	return s
}

func pod(ip string, port int32, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: ip, UID: types.UID(ip)}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{
		Ports: []corev1.ContainerPort{{Name: "www", ContainerPort: port, Protocol: corev1.ProtocolTCP}},
	}}}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func text(subsets []corev1.EndpointSubset) string {
	all := ""
	for _, s := range subsets {
		for _, p := range s.Ports {
			all += fmt.Sprint(p.Port)
		}
		for _, a := range s.Addresses {
			all += " +" + a.IP
		}
		for _, a := range s.NotReadyAddresses {
			all += " -" + a.IP
		}
		all += ";"
	}
	return all
}

func TestSubsets(t *testing.T) {
	headless := func(s *corev1.ServiceSpec) { s.ClusterIP, s.Ports = corev1.ClusterIPNone, nil }
	nameless := pod("10.0.0.4", 1, true)
	nameless.Spec.Containers[0].Ports = nil
	finished := pod("10.0.0.5", 1, true)
	finished.Status.Phase = corev1.PodSucceeded
	tests := []struct {
		name    string
		service *corev1.Service
		pods    []*corev1.Pod
		want    string
	}{
		{"sorted", service(), []*corev1.Pod{pod("10.0.0.2", 5000, true), pod("10.0.0.1", 5000, true)}, "5000 +10.0.0.1 +10.0.0.2;"},
		{"not ready", service(), []*corev1.Pod{pod("10.0.0.2", 5000, false)}, "5000 -10.0.0.2;"},
		{"not ready but published", service(func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }), []*corev1.Pod{pod("10.0.0.2", 5000, false)}, "5000 +10.0.0.2;"},
		{"of other family", service(), []*corev1.Pod{pod("fd00::1", 5000, true)}, ""},
		{"without the port", service(), []*corev1.Pod{nameless}, ""},
		{"finished", service(), []*corev1.Pod{finished}, ""},
		{"headless without ports", service(headless), []*corev1.Pod{nameless}, " +10.0.0.4;"},
		{"several ports", service(), []*corev1.Pod{pod("10.0.0.1", 5000, true), pod("10.0.0.2", 5001, true)}, "5000 +10.0.0.1;5001 +10.0.0.2;"},
	}
	for _, tt := range tests {
		if got := text(Subsets(tt.service, tt.pods)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDesiredAndCapacity(t *testing.T) {
	s := service()
	var all []*corev1.Pod
	for i := range capacity + 50 {
		all = append(all, pod(fmt.Sprintf("10.1.%d.%d", i/250, i%250), 5000, i >= 100))
	}
	wanted := Desired(s, blank(s), all)
	if n, m := len(wanted.Subsets[0].Addresses), len(wanted.Subsets[0].NotReadyAddresses); n != 950 || m != 50 || wanted.Annotations[corev1.EndpointsOverCapacity] != overCapacity {
		t.Errorf("%d ready and %d other addresses, %v", n, m, wanted.Annotations)
	}
	wanted.ResourceVersion = "1"
	if Desired(s, wanted, all) != nil {
		t.Error("what is as it should be is written again")
	}
	if wanted.Labels["a"] != "b" || wanted.Labels[managedBy] != manager {
		t.Errorf("labels %v", wanted.Labels)
	}
}
