package scheduler

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How nodes and pods of all workloads look, as in upstream's own benchmark.
const (
	zones       = 3
	highClass   = "high"
	nodeCPU     = "4"
	nodeMemory  = "32Gi"
	podsPerNode = "110"
)

// workload is what a scheduler is given to do on nodes of one kind.
type workload struct {
	name string
	// share is how many of the benchmark's pods are placed: more would take upstream minutes.
	share float64
	// target is how many times upstream's throughput is wanted.
	target float64
	// seed answers the pod that is on the i-th node before it begins; nil for none.
	seed func(i int) *corev1.Pod
	// shape makes a pod the i-th of n; i of n and above come later, one by one.
	shape func(pod *corev1.Pod, i, n int)
	// churn lets nodes, pods and services come and go meanwhile.
	churn bool
}

// workloads happen one after the other.
func workloads() []workload {
	return []workload{
		{name: "basic", share: 1, target: 10},
		{name: "pod anti-affinity", share: 0.2, target: 5, shape: func(pod *corev1.Pod, _, _ int) {
			pod.Labels = map[string]string{"color": "green"}
			pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelHostname, "green")},
			}}
		}},
		{name: "required pod affinity", share: 0.2, target: 5, seed: seeded("blue", 1), shape: func(pod *corev1.Pod, _, _ int) {
			pod.Labels = map[string]string{"color": "blue"}
			pod.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelTopologyZone, "blue")},
			}}
		}},
		{name: "preferred pod affinity", share: 0.2, target: 5, seed: seeded("red", 4), shape: func(pod *corev1.Pod, _, _ int) {
			pod.Labels = map[string]string{"color": "red"}
			pod.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term(corev1.LabelHostname, "red")}},
			}}
		}},
		{name: "topology spread", share: 0.2, target: 5, seed: seeded("yellow", 4), shape: func(pod *corev1.Pod, _, _ int) {
			pod.Labels = map[string]string{"color": "yellow"}
			pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
				MaxSkew: 5, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector("yellow"),
			}}
		}},
		{name: "node affinity", share: 0.5, target: 5, shape: func(pod *corev1.Pod, _, _ int) {
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"zone-0", "zone-1"},
				}}}},
			}}}
		}},
		{name: "preemption", share: 0.05, target: 5, seed: crowd, shape: func(pod *corev1.Pod, _, _ int) {
			pod.Spec.PriorityClassName = highClass
			request(pod, "3", "500Mi")
		}},
		{name: "unschedulable backlog", share: 1, target: 5, shape: func(pod *corev1.Pod, i, n int) {
			if i < n-n/10 {
				request(pod, "9", "500Mi")
			}
		}},
		{name: "mixed churn", share: 0.5, target: 5, churn: true},
	}
}

// seeded puts a pod of a color on every of-th node.
func seeded(color string, of int) func(int) *corev1.Pod {
	return func(i int) *corev1.Pod {
		if i%of != 0 {
			return nil
		}
		pod := newPod(fmt.Sprintf("seed-%d", i))
		pod.Labels = map[string]string{"color": color}
		return pod
	}
}

// crowd fills a node with a pod that gives way.
func crowd(i int) *corev1.Pod {
	pod := newPod(fmt.Sprintf("seed-%d", i))
	request(pod, "3", "500Mi")
	return pod
}

func selector(color string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}}
}

func term(key, color string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: selector(color)}
}

func request(pod *corev1.Pod, cpu, memory string) {
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}
}

// newPod has no grace: no kubelet would end it.
func newPod(name string) *corev1.Pod {
	grace := int64(0)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10"}},
	}}
	request(pod, "100m", "500Mi")
	return pod
}

func newNode(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i)
	has := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(nodeCPU), corev1.ResourceMemory: resource.MustParse(nodeMemory), corev1.ResourcePods: resource.MustParse(podsPerNode),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%zones), corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{
			Capacity: has, Allocatable: has,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}},
		},
	}
}
