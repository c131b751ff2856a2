package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
)

// The annotation of sets and the label of pods with the template generation, for clients that still use it.
const (
	generationAnnotation = appsv1.DeprecatedTemplateGeneration
	generationLabel      = "pod-template-generation"
)

// Fit answers whether the set's pod is to be started on the node, and whether one that runs there may stay.
func Fit(set *appsv1.DaemonSet, node *corev1.Node) (run, stay bool) {
	pod := &corev1.Pod{Spec: *set.Spec.Template.Spec.DeepCopy()}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != node.Name {
		return false, false
	}
	pod.Spec.NodeName = node.Name
	tolerate(&pod.Spec)
	if matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !matches {
		return false, false
	}
	if untolerated(pod, node, corev1.TaintEffectNoExecute) {
		return false, false
	}
	return !untolerated(pod, node, corev1.TaintEffectNoSchedule), true
}

func untolerated(pod *corev1.Pod, node *corev1.Node, effect corev1.TaintEffect) bool {
	_, found := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, pod.Spec.Tolerations,
		func(t *corev1.Taint) bool { return t.Effect == effect }, true)
	return found
}

// tolerate lets a daemon's pod bear what nodes go through: daemons are needed most where things go wrong.
func tolerate(spec *corev1.PodSpec) {
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		for i := range spec.Tolerations {
			if spec.Tolerations[i].MatchToleration(&t) {
				spec.Tolerations[i] = t
				return
			}
		}
		spec.Tolerations = append(spec.Tolerations, t)
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if spec.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
}

// newPod answers the set's pod for the node. The scheduler binds it: its required affinity names the one node.
func newPod(set *appsv1.DaemonSet, node, hash string) *corev1.Pod {
	pod := podset.FromTemplate(&set.Spec.Template, set, owner.NewRef(set, kind()))
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if generation, ok := set.Annotations[generationAnnotation]; ok {
		pod.Labels[generationLabel] = generation
	}
	if hash != "" {
		pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	}
	tolerate(&pod.Spec)
	pod.Spec.Affinity = pin(pod.Spec.Affinity, node)
	return pod
}

// pin replaces the required node affinity by the node's name; the set has checked the rest itself.
func pin(affinity *corev1.Affinity, node string) *corev1.Affinity {
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{
			Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}}}},
	}
	return affinity
}

// target answers the node that a pod of a set is bound to or meant for, "" if neither is known.
func target(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}
