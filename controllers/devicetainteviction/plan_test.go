package devicetainteviction

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func taint(effect resourcev1.DeviceTaintEffect, after time.Duration) resourcev1.DeviceTaint {
	return resourcev1.DeviceTaint{Key: "broken", Value: "yes", Effect: effect, TimeAdded: &metav1.Time{Time: now.Add(after)}}
}

func slice(generation int64, device string, taints ...resourcev1.DeviceTaint) *resourcev1.ResourceSlice {
	s := &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{Driver: "gpu.example.com", Pool: resourcev1.ResourcePool{Name: "pool", Generation: generation}}}
	s.Spec.Devices = []resourcev1.Device{{Name: device, Taints: taints}}
	return s
}

func rule(name string, effect resourcev1.DeviceTaintEffect, after time.Duration, selector *resourcev1.DeviceTaintSelector) *resourcev1.DeviceTaintRule {
	return &resourcev1.DeviceTaintRule{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 3},
		Spec:       resourcev1.DeviceTaintRuleSpec{DeviceSelector: selector, Taint: taint(effect, after)},
	}
}

func everything() *resourcev1.DeviceTaintSelector { return &resourcev1.DeviceTaintSelector{} }

func tolerates(seconds ...int64) func(*resourcev1.ResourceClaim) {
	return func(c *resourcev1.ResourceClaim) {
		t := resourcev1.DeviceToleration{Key: "broken", Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute}
		if len(seconds) == 0 {
			c.Status.Allocation.Devices.Results[0].Tolerations = []resourcev1.DeviceToleration{t}
		}
		for _, s := range seconds {
			t.TolerationSeconds = ptr(s)
			c.Status.Allocation.Devices.Results[0].Tolerations = append(c.Status.Allocation.Devices.Results[0].Tolerations, t)
		}
	}
}

func free(c *resourcev1.ResourceClaim)      { c.Status.Allocation = nil }
func unused(c *resourcev1.ResourceClaim)    { c.Status.ReservedFor = nil }
func foreign(c *resourcev1.ResourceClaim)   { c.OwnerReferences[0].UID = "another" }
func elsewhere(c *resourcev1.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Device = "gpu-1" }

func claim(change ...func(*resourcev1.ResourceClaim)) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "made"}}
	c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web", UID: "web", Controller: ptr(true)}}
	c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "web", UID: "web"}}
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
		Results: []resourcev1.DeviceRequestAllocationResult{{Driver: "gpu.example.com", Pool: "pool", Device: "gpu-0"}},
	}}
	for _, f := range change {
		f(c)
	}
	return c
}

func pod() *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web"}, Spec: corev1.PodSpec{NodeName: "node-1"}}
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr("gpus")}}
	p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "gpu", ResourceClaimName: ptr("made")}}
	return p
}

func world(c *resourcev1.ResourceClaim, slices []*resourcev1.ResourceSlice, rules ...*resourcev1.DeviceTaintRule) World {
	return World{
		Claim: func(namespace, name string) *resourcev1.ResourceClaim {
			if namespace != "shop" || name != "made" {
				return nil
			}
			return c
		},
		Pool: func(driver, pool string) []*resourcev1.ResourceSlice {
			if driver != "gpu.example.com" || pool != "pool" {
				return nil
			}
			return slices
		},
		Rules: rules,
	}
}

func TestEvict(t *testing.T) {
	const hard, soft, none = resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone
	tainted := []*resourcev1.ResourceSlice{slice(1, "gpu-0", taint(hard, 0))}
	at := func(after time.Duration, rules ...*resourcev1.DeviceTaintRule) *Eviction {
		return &Eviction{When: now.Add(after), Rules: rules}
	}
	all, early := rule("all", hard, 0, everything()), rule("early", hard, -time.Minute, &resourcev1.DeviceTaintSelector{Device: ptr("gpu-0")})
	for name, tt := range map[string]struct {
		claim *resourcev1.ResourceClaim
		pool  []*resourcev1.ResourceSlice
		rules []*resourcev1.DeviceTaintRule
		want  *Eviction
	}{
		"no taints":           {claim(), []*resourcev1.ResourceSlice{slice(1, "gpu-0")}, nil, nil},
		"tainted":             {claim(), tainted, nil, at(0)},
		"another device":      {claim(elsewhere), tainted, nil, nil},
		"not allocated":       {claim(free), tainted, nil, nil},
		"not reserved":        {claim(unused), tainted, nil, nil},
		"another pod's claim": {claim(foreign), tainted, nil, nil},
		"no claim":            {nil, tainted, nil, nil},
		"soft taint":          {claim(), []*resourcev1.ResourceSlice{slice(1, "gpu-0", taint(soft, 0), taint(none, 0))}, nil, nil},
		"outdated taint":      {claim(), []*resourcev1.ResourceSlice{tainted[0], slice(2, "gpu-0")}, nil, nil},
		"tolerated":           {claim(tolerates()), tainted, nil, nil},
		"tolerated for long":  {claim(tolerates(60, 30, 90)), tainted, nil, at(30 * time.Second)},
		"never tolerated":     {claim(tolerates(-5)), tainted, nil, at(0)},
		"rule":                {claim(), nil, []*resourcev1.DeviceTaintRule{all}, at(0, all)},
		"rules and a taint":   {claim(), tainted, []*resourcev1.DeviceTaintRule{early, all}, at(-time.Minute, all, early)},
		"other rules": {claim(), nil, []*resourcev1.DeviceTaintRule{
			rule("soft", soft, 0, everything()), rule("none", none, 0, everything()), rule("nothing", hard, 0, nil),
			rule("driver", hard, 0, &resourcev1.DeviceTaintSelector{Driver: ptr("nic.example.com")}), rule("pool", hard, 0, &resourcev1.DeviceTaintSelector{Pool: ptr("other")}),
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Evict(pod(), world(tt.claim, tt.pool, tt.rules...))); diff != "" {
				t.Error(diff)
			}
		})
	}
	waiting := pod()
	waiting.Spec.NodeName = ""
	if got := Evict(waiting, world(claim(), tainted)); got != nil {
		t.Errorf("a pod without node: %+v", got)
	}
	extended := pod()
	extended.Spec.ResourceClaims = nil
	extended.Status = corev1.PodStatus{ExtendedResourceClaimStatus: &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "made"}}
	if got := Evict(extended, world(claim(), tainted)); got == nil {
		t.Error("a pod with an extended resource may stay")
	}
}

func TestCondition(t *testing.T) {
	const hard, none, soft = resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNone, resourcev1.DeviceTaintEffectNoSchedule
	const again = "This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
	for name, tt := range map[string]struct {
		effect          resourcev1.DeviceTaintEffect
		counts          Counts
		status          metav1.ConditionStatus
		reason, message string
	}{
		"one":         {hard, Counts{Pods: 1, Namespaces: 1}, "True", "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace."},
		"many":        {hard, Counts{Pods: 3, Namespaces: 2, Evicted: 1}, "True", "PodsPendingEviction", "3 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller."},
		"not started": {hard, Counts{}, "False", "NotStarted", ""},
		"completed":   {hard, Counts{Evicted: 2}, "False", "Completed", "2 pods evicted since starting the controller."},
		"no effect": {none, Counts{Published: 1, Allocated: 1, Pods: 1, Namespaces: 1}, "False", "NoEffect",
			"1 published device selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if the effect was NoExecute. " + again},
		"no effect on many": {none, Counts{Published: 4, Allocated: 2}, "False", "NoEffect",
			"4 published devices selected. 2 allocated devices selected. 0 pods would be evicted in 0 different namespaces if the effect was NoExecute. " + again},
		"other": {soft, Counts{}, "False", "OtherEffect", "Eviction only happens for the NoExecute effect."},
	} {
		t.Run(name, func(t *testing.T) {
			want := metav1.Condition{Type: "EvictionInProgress", Status: tt.status, Reason: tt.reason, Message: tt.message, ObservedGeneration: 3}
			if diff := cmp.Diff(want, Condition(rule("r", tt.effect, 0, nil), tt.counts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	r := rule("r", resourcev1.DeviceTaintEffectNoExecute, 0, &resourcev1.DeviceTaintSelector{Device: ptr("gpu-0")})
	slices := []*resourcev1.ResourceSlice{slice(1, "gpu-0"), slice(2, "gpu-0"), slice(2, "gpu-1")}
	if n := Published(r, slices); n != 1 {
		t.Errorf("%d published", n)
	}
	if n := Allocated(r, []*resourcev1.ResourceClaim{claim(), claim(elsewhere), claim(free)}); n != 1 {
		t.Errorf("%d allocated", n)
	}
	ending := pod()
	ending.DeletionTimestamp = &metav1.Time{Time: now}
	w := world(claim(), slices, r, rule("other", resourcev1.DeviceTaintEffectNoExecute, 0, everything()))
	if n, spaces := Pending(r, []*corev1.Pod{pod(), ending}, w); n != 1 || spaces != 1 {
		t.Errorf("%d pods in %d namespaces", n, spaces)
	}
}
