package differential

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What nodes and pods are made of: few values, so that they concern each other.
var (
	namespaces = []string{"red", "green", "blue"}
	apps       = []string{"a", "b", "c"}
	zones      = []string{"z1", "z2", "z3"}
	racks      = []string{"r1", "r2"}
	disks      = []string{"ssd", "hdd"}
	images     = []string{"example.com/small:1", "example.com/large:1", "example.com/untagged"}
	keys       = []string{corev1.LabelHostname, corev1.LabelTopologyZone, "rack"}
	effects    = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
)

const gpu = "example.com/gpu"

// dice makes random clusters; the same seed makes the same ones.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, seed))} } //nolint:gosec // tests are to be repeatable

// once in n times, on average.
func (d dice) once(in int) bool { return d.IntN(in) == 0 }

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

func (d dice) quantity(from, to int, unit string) resource.Quantity {
	return resource.MustParse(fmt.Sprintf("%d%s", from+d.IntN(to-from+1), unit))
}

func (d dice) node(name string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	d.label(node, corev1.LabelTopologyZone, zones)
	d.label(node, "rack", racks)
	d.label(node, "disk", disks)
	d.label(node, "size", []string{"1", "5", "20"})
	for d.once(3) && len(node.Spec.Taints) < 3 {
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: fmt.Sprintf("t%d", len(node.Spec.Taints)), Value: pick(d, apps), Effect: pick(d, effects)})
	}
	node.Spec.Unschedulable = d.once(12)
	has := corev1.ResourceList{
		corev1.ResourceCPU: d.quantity(1, 8, ""), corev1.ResourceMemory: d.quantity(1, 16, "Gi"),
		corev1.ResourcePods: d.quantity(4, 12, ""), corev1.ResourceEphemeralStorage: d.quantity(1, 20, "Gi"),
	}
	if d.once(4) {
		has[gpu] = d.quantity(1, 4, "")
	}
	node.Status.Capacity, node.Status.Allocatable = has, has
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for i, image := range []string{images[0], images[1], images[2] + ":latest"} {
		if d.once(3) {
			node.Status.Images = append(node.Status.Images, corev1.ContainerImage{Names: []string{image}, SizeBytes: int64(1+i*9) * 50 << 20})
		}
	}
	return node
}

func (d dice) label(node *corev1.Node, key string, values []string) {
	if !d.once(6) {
		node.Labels[key] = pick(d, values)
	}
}

// pod makes one that has the priority of all others, so that none is evicted.
func (d dice) pod(name string) *corev1.Pod {
	automount, grace := false, int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(d, namespaces), Labels: map[string]string{"app": pick(d, apps)}},
		Spec:       corev1.PodSpec{AutomountServiceAccountToken: &automount, TerminationGracePeriodSeconds: &grace},
	}
	if d.once(2) {
		pod.Labels["version"] = pick(d, []string{"1", "2"})
	}
	if d.once(2) {
		pod.Labels["tier"] = "front"
	}
	for range 1 + d.IntN(2) {
		pod.Spec.Containers = append(pod.Spec.Containers, d.container(len(pod.Spec.Containers)))
	}
	if d.once(6) {
		first := d.container(9)
		if always := corev1.ContainerRestartPolicyAlways; d.once(2) {
			first.RestartPolicy = &always
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, first)
	}
	if d.once(3) {
		d.own(pod)
	}
	d.tolerate(pod)
	d.nodeAffinity(pod)
	d.podAffinity(pod)
	d.spread(pod)
	return pod
}

func (d dice) container(i int) corev1.Container {
	c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: pick(d, images)}
	requests := corev1.ResourceList{}
	if !d.once(4) {
		requests[corev1.ResourceCPU] = d.quantity(1, 12, "00m")
	}
	if !d.once(4) {
		requests[corev1.ResourceMemory] = d.quantity(1, 20, "00Mi")
	}
	if d.once(6) {
		requests[corev1.ResourceEphemeralStorage] = d.quantity(1, 4, "Gi")
	}
	c.Resources.Requests = requests
	if d.once(12) {
		one := corev1.ResourceList{gpu: resource.MustParse("1")}
		c.Resources.Limits, requests[gpu] = one, one[gpu]
	}
	if d.once(8) {
		port := corev1.ContainerPort{ContainerPort: 80, HostPort: int32(8000 + 10*i + d.IntN(2)), Protocol: pick(d, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP})}
		if d.once(2) {
			port.HostIP = pick(d, []string{"127.0.0.1", "0.0.0.0", "10.0.0.1"})
		}
		c.Ports = append(c.Ports, port)
	}
	return c
}

// own gives the pod to the ReplicaSet of its app.
func (d dice) own(pod *corev1.Pod) {
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: pod.Labels["app"], UID: "u", Controller: &yes}}
}

func (d dice) tolerate(pod *corev1.Pod) {
	for range d.IntN(3) {
		t := corev1.Toleration{Key: fmt.Sprintf("t%d", d.IntN(3)), Operator: corev1.TolerationOpEqual, Value: pick(d, apps)}
		if d.once(2) {
			t.Operator, t.Value = corev1.TolerationOpExists, ""
		}
		if d.once(2) {
			t.Effect = pick(d, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule})
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
	}
	if d.once(10) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})
	}
}

func (d dice) nodeAffinity(pod *corev1.Pod) {
	if d.once(8) {
		pod.Spec.NodeSelector = map[string]string{"disk": pick(d, disks)}
	}
	affinity := &corev1.NodeAffinity{}
	if d.once(5) {
		required := &corev1.NodeSelector{}
		for range 1 + d.IntN(2) {
			required.NodeSelectorTerms = append(required.NodeSelectorTerms, d.nodeTerm())
		}
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = required
	}
	for d.once(4) {
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = append(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.PreferredSchedulingTerm{Weight: int32(1 + d.IntN(100)), Preference: d.nodeTerm()})
	}
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: affinity}
}

func (d dice) nodeTerm() corev1.NodeSelectorTerm {
	var term corev1.NodeSelectorTerm
	for range 1 + d.IntN(2) {
		term.MatchExpressions = append(term.MatchExpressions, pick(d, []corev1.NodeSelectorRequirement{
			{Key: "disk", Operator: corev1.NodeSelectorOpIn, Values: []string{pick(d, disks)}},
			{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpNotIn, Values: []string{pick(d, zones)}},
			{Key: "rack", Operator: corev1.NodeSelectorOpExists},
			{Key: "rack", Operator: corev1.NodeSelectorOpDoesNotExist},
			{Key: "size", Operator: corev1.NodeSelectorOpGt, Values: []string{"3"}},
			{Key: "size", Operator: corev1.NodeSelectorOpLt, Values: []string{"10"}},
		}))
	}
	return term
}

func (d dice) selector() *metav1.LabelSelector {
	switch d.IntN(6) {
	case 0:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}}
	case 1:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{pick(d, apps)}}}}
	default:
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": pick(d, apps)}}
	}
}

func (d dice) podTerm() corev1.PodAffinityTerm {
	term := corev1.PodAffinityTerm{TopologyKey: pick(d, keys), LabelSelector: d.selector()}
	switch d.IntN(6) {
	case 0:
		term.Namespaces = []string{pick(d, namespaces)}
	case 1:
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"warm": pick(d, []string{"yes", "no"})}}
	case 2:
		term.NamespaceSelector = &metav1.LabelSelector{}
	}
	if d.once(6) {
		term.MatchLabelKeys = []string{"version"}
	}
	return term
}

func (d dice) podAffinity(pod *corev1.Pod) {
	near, far := &corev1.PodAffinity{}, &corev1.PodAntiAffinity{}
	if d.once(7) {
		near.RequiredDuringSchedulingIgnoredDuringExecution = append(near.RequiredDuringSchedulingIgnoredDuringExecution, d.podTerm())
	}
	if d.once(5) {
		far.RequiredDuringSchedulingIgnoredDuringExecution = append(far.RequiredDuringSchedulingIgnoredDuringExecution, d.podTerm())
	}
	for d.once(4) {
		near.PreferredDuringSchedulingIgnoredDuringExecution = append(near.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: int32(1 + d.IntN(100)), PodAffinityTerm: d.podTerm()})
	}
	for d.once(4) {
		far.PreferredDuringSchedulingIgnoredDuringExecution = append(far.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: int32(1 + d.IntN(100)), PodAffinityTerm: d.podTerm()})
	}
	pod.Spec.Affinity.PodAffinity, pod.Spec.Affinity.PodAntiAffinity = near, far
}

func (d dice) spread(pod *corev1.Pod) {
	seen := map[string]bool{}
	for d.once(3) {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: int32(1 + d.IntN(3)), TopologyKey: pick(d, keys), LabelSelector: d.selector(),
			WhenUnsatisfiable: pick(d, []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}),
		}
		at := c.TopologyKey + string(c.WhenUnsatisfiable)
		if seen[at] {
			continue
		}
		seen[at] = true
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && d.once(4) {
			least := int32(1 + d.IntN(4))
			c.MinDomains = &least
		}
		honor, ignore := corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore
		if d.once(3) {
			c.NodeAffinityPolicy = pick(d, []*corev1.NodeInclusionPolicy{&honor, &ignore})
		}
		if d.once(3) {
			c.NodeTaintsPolicy = pick(d, []*corev1.NodeInclusionPolicy{&honor, &ignore})
		}
		if d.once(5) {
			c.MatchLabelKeys = []string{"version"}
		}
		pod.Spec.TopologySpreadConstraints = append(pod.Spec.TopologySpreadConstraints, c)
	}
}
