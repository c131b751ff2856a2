package devicetainteviction

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"skiff/controllers/internal/controller"
)

func poolKey(driver, pool string) string { return driver + "/" + pool }

func ruleKey(name string) controller.Key { return controller.Key{Name: rulePrefix + name} }

func poolOf(o any) ([]string, error) {
	if s, ok := o.(*resourcev1.ResourceSlice); ok {
		return []string{poolKey(s.Spec.Driver, s.Spec.Pool.Name)}, nil
	}
	return nil, nil
}

func poolsOf(o any) ([]string, error) {
	claim, ok := o.(*resourcev1.ResourceClaim)
	if !ok || claim.Status.Allocation == nil {
		return nil, nil
	}
	var keys []string
	for _, d := range claim.Status.Allocation.Devices.Results {
		if key := poolKey(d.Driver, d.Pool); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// ofPod asks for a pod when its node or its claims changed; the eviction's own condition is not news.
func (r *reconciler) ofPod(before, after metav1.Object) []controller.Key {
	old, pod := controller.PodOf(before), controller.PodOf(after)
	switch {
	case pod == nil && !concerned(old), pod != nil && !concerned(pod):
		return nil
	case old != nil && pod != nil && samePod(old, pod):
		return nil
	case pod == nil:
		pod = old
	}
	return []controller.Key{{Namespace: pod.Namespace, Name: podPrefix + pod.Name}}
}

func concerned(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

func samePod(a, b *corev1.Pod) bool {
	return a.UID == b.UID && a.Spec.NodeName == b.Spec.NodeName &&
		resourceclaim.PodStatusEqual(a.Status.ResourceClaimStatuses, b.Status.ResourceClaimStatuses) &&
		resourceclaim.PodExtendedStatusEqual(a.Status.ExtendedResourceClaimStatus, b.Status.ExtendedResourceClaimStatus)
}

// consumers answers the pods that the claim is reserved for.
func consumers(claim *resourcev1.ResourceClaim) []controller.Key {
	var keys []controller.Key
	for _, c := range claim.Status.ReservedFor {
		if c.APIGroup == "" && c.Resource == "pods" {
			keys = append(keys, controller.Key{Namespace: claim.Namespace, Name: podPrefix + c.Name})
		}
	}
	return keys
}

// ofClaim asks for the pods that the claim is, or was, reserved for.
func (r *reconciler) ofClaim(before, after metav1.Object) []controller.Key {
	old, _ := before.(*resourcev1.ResourceClaim)
	claim, _ := after.(*resourcev1.ResourceClaim)
	var keys []controller.Key
	for _, c := range []*resourcev1.ResourceClaim{old, claim} {
		if c != nil {
			keys = append(keys, consumers(c)...)
		}
	}
	return keys
}

// ofSlice asks for the pods with devices of the slice's pool when there are, or were, taints in the pool.
func (r *reconciler) ofSlice(before, after metav1.Object) []controller.Key {
	pools, tainted := map[string]bool{}, false
	for _, o := range []metav1.Object{before, after} {
		s, ok := o.(*resourcev1.ResourceSlice)
		if !ok {
			continue
		}
		pools[poolKey(s.Spec.Driver, s.Spec.Pool.Name)] = true
		tainted = tainted || slices.ContainsFunc(append(r.pool(s.Spec.Driver, s.Spec.Pool.Name), s), evicts)
	}
	if !tainted {
		return nil
	}
	var keys []controller.Key
	for pool := range pools {
		items, err := r.claimIndex.ByIndex(claimsOfPool, pool)
		if err != nil {
			continue
		}
		for _, item := range items {
			if claim, ok := item.(*resourcev1.ResourceClaim); ok {
				keys = append(keys, consumers(claim)...)
			}
		}
	}
	return keys
}

func evicts(s *resourcev1.ResourceSlice) bool {
	return slices.ContainsFunc(s.Spec.Devices, func(d resourcev1.Device) bool {
		return slices.ContainsFunc(d.Taints, func(t resourcev1.DeviceTaint) bool { return t.Effect == resourcev1.DeviceTaintEffectNoExecute })
	})
}

// ofRule asks for the rule's status first, so that it tells of an eviction before the first pod goes, and then for the
// pods with devices that the rule selects, or did.
func (r *reconciler) ofRule(before, after metav1.Object) []controller.Key {
	old, _ := before.(*resourcev1.DeviceTaintRule)
	rule, _ := after.(*resourcev1.DeviceTaintRule)
	if old != nil && rule != nil && old.UID == rule.UID && equality.Semantic.DeepEqual(old.Spec, rule.Spec) {
		return nil
	}
	var keys []controller.Key
	r.mu.Lock()
	if rule != nil {
		r.fresh[rule.Name] = true
		keys = append(keys, ruleKey(rule.Name))
	}
	if old != nil && (rule == nil || rule.UID != old.UID) {
		delete(r.evicted, old.UID)
	}
	if rule == nil {
		delete(r.fresh, old.Name)
		delete(r.due, old.Name)
	}
	r.mu.Unlock()
	return append(keys, r.selected(old, rule)...)
}

func (r *reconciler) selected(rules ...*resourcev1.DeviceTaintRule) []controller.Key {
	rules = slices.DeleteFunc(rules, func(rule *resourcev1.DeviceTaintRule) bool {
		return rule == nil || rule.Spec.Taint.Effect != resourcev1.DeviceTaintEffectNoExecute
	})
	if len(rules) == 0 {
		return nil
	}
	claims, err := r.claims.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, claim := range claims {
		if slices.ContainsFunc(rules, func(rule *resourcev1.DeviceTaintRule) bool {
			return Allocated(rule, []*resourcev1.ResourceClaim{claim}) > 0
		}) {
			keys = append(keys, consumers(claim)...)
		}
	}
	return keys
}
