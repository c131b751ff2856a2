package plugins_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

const driver = "gpu.example.com"

// withDevices starts informers over claims, classes, slices and rules.
func (w *world) withDevices(objects ...runtime.Object) *world {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Tracker().Add(o); err != nil {
			w.t.Fatal(err)
		}
	}
	w.devices = plugins.NewDevices(w.factory)
	synced, err := w.devices.Watch(func(framework.Change) {})
	if err != nil {
		w.t.Fatal(err)
	}
	fw, err := framework.New(plugins.Default(w.deps()), w.nominator)
	if err != nil {
		w.t.Fatal(err)
	}
	w.framework = fw
	stop := make(chan struct{})
	w.factory.Start(stop)
	w.t.Cleanup(func() {
		close(stop)
		w.factory.Shutdown()
	})
	for _, s := range synced {
		<-s.Done()
	}
	return w
}

func deviceClass(name string) *resourcev1.DeviceClass {
	return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// sliceOn offers devices on a node, each changed by the options.
func sliceOn(node string, names []string, opts ...func(*resourcev1.Device)) *resourcev1.ResourceSlice {
	s := &resourcev1.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "slice-" + node},
		Spec: resourcev1.ResourceSliceSpec{
			Driver: driver, NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1},
		},
	}
	for _, name := range names {
		d := resourcev1.Device{Name: name}
		for _, o := range opts {
			o(&d)
		}
		s.Spec.Devices = append(s.Spec.Devices, d)
	}
	return s
}

func exactly(class string, opts ...func(*resourcev1.ExactDeviceRequest)) resourcev1.DeviceRequest {
	e := &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}
	for _, o := range opts {
		o(e)
	}
	return resourcev1.DeviceRequest{Name: "req", Exactly: e}
}

func firstAvailable(subs ...resourcev1.DeviceSubRequest) resourcev1.DeviceRequest {
	return resourcev1.DeviceRequest{Name: "req", FirstAvailable: subs}
}

func sub(name, class string, count int64) resourcev1.DeviceSubRequest {
	return resourcev1.DeviceSubRequest{Name: name, DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: count}
}

func deviceClaim(name string, requests ...resourcev1.DeviceRequest) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec:       resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}},
	}
}

// has allocates a device of a node to the claim, reachable from there alone.
func has(claim *resourcev1.ResourceClaim, node, device string, opts ...func(*resourcev1.DeviceRequestAllocationResult)) *resourcev1.ResourceClaim {
	r := resourcev1.DeviceRequestAllocationResult{Request: "req", Driver: driver, Pool: node, Device: device}
	for _, o := range opts {
		o(&r)
	}
	term := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}
	claim.Status.Allocation = &resourcev1.AllocationResult{
		Devices:      resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{r}},
		NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}},
	}
	return claim
}

func usedBy(claim *resourcev1.ResourceClaim, n int) *resourcev1.ResourceClaim {
	for i := range n {
		name := fmt.Sprintf("user%d", i)
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: name, UID: types.UID(name)})
	}
	return claim
}

func claims(names ...string) podOpt {
	return func(p *corev1.Pod) {
		for _, name := range names {
			p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: name, ResourceClaimName: &name})
		}
	}
}

func TestDevices(t *testing.T) {
	const none = "UU: cannot allocate all claims"
	two := []*corev1.Node{makeNode("a"), makeNode("b")}
	onA := sliceOn("a", []string{"gpu0"})
	gone := deviceClaim("c", exactly("gpu"))
	gone.DeletionTimestamp, gone.Finalizers = new(metav1.Now()), []string{"x"}
	admin := func(r *resourcev1.ExactDeviceRequest) { r.AdminAccess = new(true) }
	tainted := func(d *resourcev1.Device) {
		d.Taints = []resourcev1.DeviceTaint{{Key: "broken", Effect: resourcev1.DeviceTaintEffectNoSchedule}}
	}
	tolerating := func(r *resourcev1.ExactDeviceRequest) {
		r.Tolerations = []resourcev1.DeviceToleration{{Key: "broken", Operator: resourcev1.DeviceTolerationOpExists}}
	}
	rule := func(selector *resourcev1.DeviceTaintSelector) *resourcev1.DeviceTaintRule {
		return &resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "rule"}, Spec: resourcev1.DeviceTaintRuleSpec{
			DeviceSelector: selector, Taint: resourcev1.DeviceTaint{Key: "broken", Effect: resourcev1.DeviceTaintEffectNoExecute},
		}}
	}
	gpu := deviceClass("gpu")
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		pod     *corev1.Pod
		a, b    string
	}{
		{"no claims", nil, makePod("p"), fits, fits},
		{"missing claim", nil, makePod("p", claims("c")), `UU: could not find ResourceClaim "default/c"`, `UU: could not find ResourceClaim "default/c"`},
		{"claim on its way out", []runtime.Object{gone}, makePod("p", claims("c")), `UU: resourceclaim "c" is being deleted`, `UU: resourceclaim "c" is being deleted`},
		{"missing class", []runtime.Object{onA, deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")),
			"UU: request req: device class gpu does not exist", "UU: request req: device class gpu does not exist"},
		{"missing class of an alternative", []runtime.Object{gpu, onA, deviceClaim("c", firstAvailable(sub("x", "gpu", 1), sub("y", "fpga", 1)))}, makePod("p", claims("c")),
			"UU: request req/y: device class fpga does not exist", "UU: request req/y: device class fpga does not exist"},
		{"device on a", []runtime.Object{gpu, onA, deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), fits, none},
		{"two claims, one device", []runtime.Object{gpu, onA, deviceClaim("c", exactly("gpu")), deviceClaim("d", exactly("gpu"))}, makePod("p", claims("c", "d")), none, none},
		{"device taken", []runtime.Object{gpu, onA, has(deviceClaim("x", exactly("gpu")), "a", "gpu0"), deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), none, none},
		{"device taken by an administrator", []runtime.Object{gpu, onA, deviceClaim("c", exactly("gpu")), has(deviceClaim("x", exactly("gpu", admin)), "a", "gpu0",
			func(r *resourcev1.DeviceRequestAllocationResult) { r.AdminAccess = new(true) })}, makePod("p", claims("c")), fits, none},
		{"administrator beside the owner", []runtime.Object{gpu, onA, has(deviceClaim("x", exactly("gpu")), "a", "gpu0"), deviceClaim("c", exactly("gpu", admin))}, makePod("p", claims("c")), fits, none},
		{"claim allocated on a", []runtime.Object{gpu, onA, has(deviceClaim("c", exactly("gpu")), "a", "gpu0")}, makePod("p", claims("c")), fits, "UU: resourceclaim not available on the node"},
		{"claim shared with another pod", []runtime.Object{gpu, onA, usedBy(has(deviceClaim("c", exactly("gpu")), "a", "gpu0"), 1)}, makePod("p", claims("c")), fits, "UU: resourceclaim not available on the node"},
		{"second choice", []runtime.Object{gpu, onA, deviceClaim("c", firstAvailable(sub("pair", "gpu", 2), sub("single", "gpu", 1)))}, makePod("p", claims("c")), fits, none},
		{"tainted device", []runtime.Object{gpu, sliceOn("a", []string{"gpu0"}, tainted), deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), none, none},
		{"tainted device, tolerated", []runtime.Object{gpu, sliceOn("a", []string{"gpu0"}, tainted), deviceClaim("c", exactly("gpu", tolerating))}, makePod("p", claims("c")), fits, none},
		{"rule taints the pool", []runtime.Object{gpu, onA, rule(&resourcev1.DeviceTaintSelector{Pool: new("a")}), deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), none, none},
		{"rule taints all", []runtime.Object{gpu, onA, rule(&resourcev1.DeviceTaintSelector{}), deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), none, none},
		{"rule taints, tolerated", []runtime.Object{gpu, onA, rule(&resourcev1.DeviceTaintSelector{}), deviceClaim("c", exactly("gpu", tolerating))}, makePod("p", claims("c")), fits, none},
		{"rule without selector taints nothing", []runtime.Object{gpu, onA, rule(nil), deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), fits, none},
		{"rule taints another device", []runtime.Object{gpu, onA, rule(&resourcev1.DeviceTaintSelector{Driver: new(driver), Device: new("gpu1")}), deviceClaim("c", exactly("gpu"))}, makePod("p", claims("c")), fits, none},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, two).withDevices(test.objects...)
			got := w.verdicts(test.pod)
			if got["a"] != test.a || got["b"] != test.b {
				t.Errorf("a: %q, b: %q; want %q, %q", got["a"], got["b"], test.a, test.b)
			}
		})
	}
}

// TestPartitions: two partitions share what one counter counts; a third doesn't fit any more (KEP-4815).
func TestPartitions(t *testing.T) {
	counters := map[string]resourcev1.Counter{"memory": {Value: resource.MustParse("2")}}
	uses := func(d *resourcev1.Device) {
		d.ConsumesCounters = []resourcev1.DeviceCounterConsumption{{CounterSet: "card", Counters: map[string]resourcev1.Counter{"memory": {Value: resource.MustParse("1")}}}}
	}
	parts := sliceOn("a", []string{"p0", "p1", "p2"}, uses)
	parts.Spec.Pool.ResourceSliceCount = 2
	card := sliceOn("a", nil)
	card.Name = "card"
	card.Spec.Pool.ResourceSliceCount = 2
	card.Spec.SharedCounters = []resourcev1.CounterSet{{Name: "card", Counters: counters}}
	for taken, want := range []string{fits, fits, "UU: cannot allocate all claims"} {
		objects := []runtime.Object{deviceClass("gpu"), parts.DeepCopy(), card.DeepCopy(), deviceClaim("c", exactly("gpu"))}
		for i := range taken {
			objects = append(objects, has(deviceClaim(fmt.Sprintf("x%d", i), exactly("gpu")), "a", fmt.Sprintf("p%d", i)))
		}
		w := newWorld(t, []*corev1.Node{makeNode("a")}).withDevices(objects...)
		if got := w.verdicts(makePod("p", claims("c")))["a"]; got != want {
			t.Errorf("with %d partitions taken: %q, want %q", taken, got, want)
		}
	}
}

// TestEarlyAlternativesScore: a node with the first choice beats one with the second.
func TestEarlyAlternativesScore(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}).withDevices(deviceClass("gpu"),
		sliceOn("a", []string{"gpu0"}), sliceOn("b", []string{"gpu0", "gpu1"}),
		deviceClaim("c", firstAvailable(sub("pair", "gpu", 2), sub("single", "gpu", 1))))
	c := framework.NewCycle(info(t, makePod("p", claims("c"))), w.cache.Snapshot())
	if _, _, s := w.framework.PreFilter(t.Context(), c); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	p, scores := w.plugin("DynamicResources").(*plugins.DynamicResources), map[string]int64{}
	var all []framework.NodeScore
	for _, n := range c.Snapshot.Nodes() {
		if s := w.framework.Filter(t.Context(), c, n); !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		score, s := p.Score(t.Context(), c, n)
		if !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		all = append(all, framework.NodeScore{Node: n, Score: score})
	}
	p.NormalizeScore(t.Context(), c, all)
	for _, s := range all {
		scores[s.Node.Name()] = s.Score
	}
	if scores["b"] != 100 || scores["a"] != 87 {
		t.Errorf("scores %v; want 87 (7 of 8) on a, 100 on b", scores)
	}
}

// TestReservedDevicesAreTaken: what Reserve decided isn't given to the next pod, until it is unreserved.
func TestReservedDevicesAreTaken(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a")}).withDevices(deviceClass("gpu"), sliceOn("a", []string{"gpu0"}),
		deviceClaim("c", exactly("gpu")), deviceClaim("d", exactly("gpu")))
	c := framework.NewCycle(info(t, makePod("p", claims("c"))), w.cache.Snapshot())
	if _, _, s := w.framework.PreFilter(t.Context(), c); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if s := w.framework.Filter(t.Context(), c, c.Snapshot.Nodes()[0]); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	p := w.plugin("DynamicResources").(*plugins.DynamicResources)
	if s := p.Reserve(t.Context(), c, "a"); !s.IsSuccess() {
		t.Fatal(s.Message())
	}
	if got := w.verdicts(makePod("other", claims("d")))["a"]; got != "UU: cannot allocate all claims" {
		t.Errorf("another claim on the device: %q", got)
	}
	if got := w.verdicts(makePod("sharer", claims("c")))["a"]; got != "UU: resource claim default/c is in the process of being allocated" {
		t.Errorf("another pod on the claim: %q", got)
	}
	p.Unreserve(t.Context(), c, "a")
	p.Unreserve(t.Context(), c, "a")
	if got := w.verdicts(makePod("other", claims("d")))["a"]; got != fits {
		t.Errorf("after Unreserve: %q", got)
	}
}

func TestDeviceHints(t *testing.T) {
	mine, other := deviceClaim("c", exactly("gpu")), deviceClaim("d", exactly("gpu"))
	w := newWorld(t, nil).withDevices(mine, other)
	user, waiting := makePod("p", claims("c")), makePod("q", claims("gone"))
	allocated := func(name string) *resourcev1.ResourceClaim { return has(deviceClaim(name), "a", "gpu0") }
	touched := deviceClaim("c", exactly("gpu"))
	touched.Labels = map[string]string{"x": "y"}
	named := makePod("p", claims("c"))
	for _, test := range []hintCase{
		{"its claim comes", user, added(framework.ResourceClaim, mine), true},
		{"another claim comes", user, added(framework.ResourceClaim, other), false},
		{"its claim is allocated", user, updated(framework.ResourceClaim, mine, allocated("c")), true},
		{"its claim is labelled", user, updated(framework.ResourceClaim, mine, touched), false},
		{"another claim is allocated", user, updated(framework.ResourceClaim, other, allocated("d")), false},
		{"another claim frees its devices", user, updated(framework.ResourceClaim, allocated("d"), other), true},
		{"devices get free, but its claim is missing", waiting, updated(framework.ResourceClaim, allocated("d"), other), false},
		{"allocated claim goes", user, deleted(framework.ResourceClaim, allocated("d")), true},
		{"free claim goes", user, deleted(framework.ResourceClaim, other), false},
		{"class comes", user, added(framework.DeviceClass, deviceClass("gpu")), true},
		{"slice changes", user, updated(framework.ResourceSlice, sliceOn("a", nil), sliceOn("a", []string{"x"})), true},
		{"slice goes", user, deleted(framework.ResourceSlice, sliceOn("a", nil)), false},
		{"node gets more", user, changed(framework.Node, framework.UpdateNodeAllocatable, makeNode("a"), makeNode("a")), true},
		{"node is tainted", user, changed(framework.Node, framework.UpdateNodeTaint, makeNode("a"), makeNode("a")), false},
		{"the pod's status names its claims", user, changed(framework.TargetPod, framework.UpdatePodGeneratedResourceClaim, user, named), true},
		{"the pod's status names a claim that isn't there", waiting, changed(framework.TargetPod, framework.UpdatePodGeneratedResourceClaim, waiting, waiting), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := w.wakes("DynamicResources", test.pod, test.change); got != test.want {
				t.Errorf("wakes the pod: %v, want %v", got, test.want)
			}
		})
	}
}
