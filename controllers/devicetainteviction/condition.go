package devicetainteviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Counts is what a rule does or, if its effect is None, would do.
type Counts struct {
	// Published and Allocated are the devices that it selects; they are told for the effect None only.
	Published, Allocated int64
	// Pods are those that have to go yet, Namespaces theirs.
	Pods, Namespaces int64
	// Evicted are the pods that went since the controller started.
	Evicted int64
}

// Condition answers the rule's condition EvictionInProgress without the time of its transition.
func Condition(rule *resourcev1.DeviceTaintRule, n Counts) metav1.Condition {
	c := metav1.Condition{
		Type: resourcev1.DeviceTaintConditionEvictionInProgress, Status: metav1.ConditionFalse, ObservedGeneration: rule.Generation,
	}
	switch rule.Spec.Taint.Effect {
	case resourcev1.DeviceTaintEffectNoExecute:
		switch {
		case n.Pods > 0:
			c.Status, c.Reason = metav1.ConditionTrue, "PodsPendingEviction"
			c.Message = many(n.Pods, "pod needs", "pods need") + " to be evicted in " + namespaces(n) + "."
		case n.Evicted > 0:
			c.Reason = "Completed"
		default:
			c.Reason = "NotStarted"
		}
	case resourcev1.DeviceTaintEffectNone:
		c.Reason = "NoEffect"
		c.Message = many(n.Published, "published device", "published devices") + " selected. " +
			many(n.Allocated, "allocated device", "allocated devices") + " selected. " +
			many(n.Pods, "pod", "pods") + " would be evicted in " + namespaces(n) +
			" if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
	default:
		c.Reason, c.Message = "OtherEffect", "Eviction only happens for the NoExecute effect."
	}
	if n.Evicted > 0 {
		if c.Message != "" {
			c.Message += " "
		}
		c.Message += many(n.Evicted, "pod", "pods") + " evicted since starting the controller."
	}
	return c
}

func many(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func namespaces(n Counts) string { return many(n.Namespaces, "namespace", "different namespaces") }

// Pending counts the pods that the rule drives out.
func Pending(rule *resourcev1.DeviceTaintRule, pods []*corev1.Pod, w World) (count, spaces int64) {
	seen := map[string]bool{}
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		eviction := Evict(pod, w)
		if eviction == nil {
			continue
		}
		for _, r := range eviction.Rules {
			if r.UID == rule.UID {
				count++
				seen[pod.Namespace] = true
			}
		}
	}
	return count, int64(len(seen))
}

// Published counts the devices of the newest generation of every pool that the rule selects.
func Published(rule *resourcev1.DeviceTaintRule, slices []*resourcev1.ResourceSlice) (count int64) {
	type pool struct{ driver, name string }
	newest := map[pool]int64{}
	for _, s := range slices {
		p := pool{s.Spec.Driver, s.Spec.Pool.Name}
		if g, known := newest[p]; !known || s.Spec.Pool.Generation > g {
			newest[p] = s.Spec.Pool.Generation
		}
	}
	for _, s := range slices {
		if s.Spec.Pool.Generation != newest[pool{s.Spec.Driver, s.Spec.Pool.Name}] {
			continue
		}
		for i := range s.Spec.Devices {
			if selects(rule.Spec.DeviceSelector, s.Spec.Driver, s.Spec.Pool.Name, s.Spec.Devices[i].Name) {
				count++
			}
		}
	}
	return count
}

// Allocated counts the allocated devices that the rule selects.
func Allocated(rule *resourcev1.DeviceTaintRule, claims []*resourcev1.ResourceClaim) (count int64) {
	for _, c := range claims {
		if c.Status.Allocation == nil {
			continue
		}
		for i := range c.Status.Allocation.Devices.Results {
			if Matches(rule, &c.Status.Allocation.Devices.Results[i]) {
				count++
			}
		}
	}
	return count
}
