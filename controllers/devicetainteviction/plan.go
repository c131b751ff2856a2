package devicetainteviction

import (
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// Eviction is when a pod has to go, and the rules that say so; taints of drivers may have a part in it too.
type Eviction struct {
	When  time.Time
	Rules []*resourcev1.DeviceTaintRule
}

// World is what there is of devices.
type World struct {
	// Claim answers a claim of the pod's namespace, nil if there is none.
	Claim func(namespace, name string) *resourcev1.ResourceClaim
	// Pool answers the slices of a driver's pool.
	Pool func(driver, pool string) []*resourcev1.ResourceSlice
	// Rules are all rules; those with an effect other than NoExecute evict nobody.
	Rules []*resourcev1.DeviceTaintRule
}

// Evict answers when the pod has to leave its devices, nil if it may stay. Only a pod on a node that a claim is
// reserved for has devices.
func Evict(pod *corev1.Pod, w World) *Eviction {
	if pod.Spec.NodeName == "" {
		return nil
	}
	var all *Eviction
	for name, owned := range resourceclaim.PodClaims(pod) {
		claim := w.Claim(pod.Namespace, name)
		if claim == nil || claim.Status.Allocation == nil || !resourceclaim.IsReservedForPod(pod, claim, false) {
			continue
		}
		if owned && resourceclaim.IsForPod(pod, claim, false) != nil {
			continue
		}
		all = join(all, w.claim(claim))
	}
	return all
}

// join answers the earlier time and the rules of both.
func join(a, b *Eviction) *Eviction {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	joined := &Eviction{When: a.When, Rules: append(slices.Clone(a.Rules), b.Rules...)}
	if b.When.Before(a.When) {
		joined.When = b.When
	}
	slices.SortFunc(joined.Rules, func(x, y *resourcev1.DeviceTaintRule) int { return strings.Compare(x.Name, y.Name) })
	joined.Rules = slices.CompactFunc(joined.Rules, func(x, y *resourcev1.DeviceTaintRule) bool { return x.UID == y.UID })
	return joined
}

// claim answers when those who use the claim have to go: at the first time that one of its devices' taints stops
// being tolerated.
func (w World) claim(claim *resourcev1.ResourceClaim) *Eviction {
	var all *Eviction
	for i := range claim.Status.Allocation.Devices.Results {
		result := &claim.Status.Allocation.Devices.Results[i]
		for _, taint := range deviceTaints(w.Pool(result.Driver, result.Pool), result.Device) {
			if when, goes := until(&taint, result.Tolerations); goes {
				all = join(all, &Eviction{When: when})
			}
		}
		for _, rule := range w.Rules {
			if !Matches(rule, result) {
				continue
			}
			if when, goes := until(&rule.Spec.Taint, result.Tolerations); goes {
				all = join(all, &Eviction{When: when, Rules: []*resourcev1.DeviceTaintRule{rule}})
			}
		}
	}
	return all
}

// deviceTaints answers the taints of a device by the newest generation of its pool; older slices are outdated.
func deviceTaints(pool []*resourcev1.ResourceSlice, device string) []resourcev1.DeviceTaint {
	newest := int64(math.MinInt64)
	for _, s := range pool {
		newest = max(newest, s.Spec.Pool.Generation)
	}
	for _, s := range pool {
		if s.Spec.Pool.Generation != newest {
			continue
		}
		for i := range s.Spec.Devices {
			if s.Spec.Devices[i].Name == device {
				return s.Spec.Devices[i].Taints
			}
		}
	}
	return nil
}

// until answers how long the taint is tolerated, and whether that ever ends. Of several tolerations the shortest counts,
// unless one is for ever.
func until(taint *resourcev1.DeviceTaint, tolerations []resourcev1.DeviceToleration) (time.Time, bool) {
	if taint.Effect != resourcev1.DeviceTaintEffectNoExecute || taint.TimeAdded == nil {
		return time.Time{}, false
	}
	shortest, found := int64(math.MaxInt64), false
	for _, t := range tolerations {
		if t.Effect != resourcev1.DeviceTaintEffectNoExecute || !resourceclaim.ToleratesTaint(t, *taint) {
			continue
		}
		if t.TolerationSeconds == nil {
			return time.Time{}, false
		}
		shortest, found = min(shortest, max(0, *t.TolerationSeconds)), true
	}
	if !found {
		return taint.TimeAdded.Time, true
	}
	return taint.TimeAdded.Add(time.Duration(min(shortest, int64(math.MaxInt64/time.Second))) * time.Second), true
}

// Matches answers whether the rule selects the allocated device. A rule without selector selects none.
func Matches(rule *resourcev1.DeviceTaintRule, result *resourcev1.DeviceRequestAllocationResult) bool {
	return selects(rule.Spec.DeviceSelector, result.Driver, result.Pool, result.Device)
}

func selects(s *resourcev1.DeviceTaintSelector, driver, pool, device string) bool {
	is := func(want *string, have string) bool { return want == nil || *want == have }
	return s != nil && is(s.Driver, driver) && is(s.Pool, pool) && is(s.Device, device)
}
