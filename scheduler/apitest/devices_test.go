package apitest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/scheduler"
	"skiff/test/env"
)

// lab is a cluster of two nodes with a scheduler; each story uses a driver and class of its own.
type lab struct {
	*testing.T
	ctx   context.Context
	admin kubernetes.Interface
}

// TestDevicesAgainstTheAPI tells stories of devices under the scheduler's own identity, so that what it may do and what
// the API takes from it are tested with it.
func TestDevicesAgainstTheAPI(t *testing.T) {
	server := env.Start(t, env.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	l := lab{t, ctx, kubernetes.NewForConfigOrDie(server.Admin())}
	run(ctx, t, server, scheduler.Config{})
	ensureNamespace(ctx, t, l.admin)
	for _, name := range []string{"n1", "n2"} {
		createNode(ctx, t, l.admin, node(name))
	}
	for _, story := range []struct {
		name string
		tell func(lab)
	}{
		{"claim is allocated", allocates},
		{"waits for a device", waitsForDevice},
		{"waits for its claim", waitsForClaim},
		{"rule taints the devices", waitsForRule},
		{"unused claim in the way is freed", freesClaim},
		{"extended resource", extends},
		{"binding conditions", waitsForConditions},
		{"no device twice", sharesOut},
	} {
		t.Run(story.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			story.tell(lab{t, ctx, l.admin})
		})
	}
}

func (l lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// class makes a class of the driver's devices; the driver has the class' name.
func (l lab) class(name, extended string) {
	l.Helper()
	c := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "` + name + `"`}}},
	}}
	if extended != "" {
		c.Spec.ExtendedResourceName = &extended
	}
	_, err := l.admin.ResourceV1().DeviceClasses().Create(l.ctx, c, metav1.CreateOptions{})
	l.must(err)
}

func (l lab) slice(driver, node string, devices ...resourcev1.Device) {
	l.Helper()
	_, err := l.admin.ResourceV1().ResourceSlices().Create(l.ctx, &resourcev1.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: driver + "-" + node},
		Spec: resourcev1.ResourceSliceSpec{
			Driver: driver, NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1}, Devices: devices,
		},
	}, metav1.CreateOptions{})
	l.must(err)
}

func (l lab) claim(name, class string) {
	l.Helper()
	_, err := l.admin.ResourceV1().ResourceClaims("default").Create(l.ctx, &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "req", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class}},
		}}},
	}, metav1.CreateOptions{})
	l.must(err)
}

func (l lab) pod(name, claim string, change func(*corev1.Pod)) {
	l.Helper()
	p := pod(name, "10m")
	if claim != "" {
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "dev", ResourceClaimName: &claim}}
		p.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "dev"}}
	}
	if change != nil {
		change(p)
	}
	createPod(l.ctx, l.T, l.admin, p)
}

func (l lab) getPod(name string) *corev1.Pod {
	l.Helper()
	p, err := l.admin.CoreV1().Pods("default").Get(l.ctx, name, metav1.GetOptions{})
	l.must(err)
	return p
}

func (l lab) getClaim(name string) *resourcev1.ResourceClaim {
	l.Helper()
	c, err := l.admin.ResourceV1().ResourceClaims("default").Get(l.ctx, name, metav1.GetOptions{})
	l.must(err)
	return c
}

func (l lab) onNode(name, node string) {
	l.Helper()
	eventually(l.ctx, l.T, name+" on "+node, func() bool { return l.getPod(name).Spec.NodeName == node })
}

// waits says with which words the pod waits.
func (l lab) waits(name, message string) {
	l.Helper()
	var last string
	l.Cleanup(func() {
		if l.Failed() {
			l.Logf("last message of %s: %s", name, last)
		}
	})
	eventually(l.ctx, l.T, name+" waiting: "+message, func() bool {
		for _, c := range l.getPod(name).Status.Conditions {
			if c.Type == corev1.PodScheduled {
				last = c.Message
			}
		}
		return last == message
	})
}

func (l lab) deletePod(name string) {
	l.Helper()
	l.must(l.admin.CoreV1().Pods("default").Delete(l.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
}

// free does what the claim controller does once nobody uses the claim.
func (l lab) free(claim string) {
	l.Helper()
	c := l.getClaim(claim)
	c.Status.ReservedFor, c.Status.Allocation = nil, nil
	c, err := l.admin.ResourceV1().ResourceClaims("default").UpdateStatus(l.ctx, c, metav1.UpdateOptions{})
	l.must(err)
	c.Finalizers = nil
	_, err = l.admin.ResourceV1().ResourceClaims("default").Update(l.ctx, c, metav1.UpdateOptions{})
	l.must(err)
}

// allocates: the claim gets its device, the pod as user, and the finalizer, and a second pod shares it.
func allocates(l lab) {
	l.class("one.example.com", "")
	l.slice("one.example.com", "n2", resourcev1.Device{Name: "d0"})
	l.claim("one", "one.example.com")
	l.pod("one-a", "one", nil)
	l.onNode("one-a", "n2")
	l.pod("one-b", "one", nil)
	l.onNode("one-b", "n2")
	claim := l.getClaim("one")
	if !slices.Contains(claim.Finalizers, "resource.kubernetes.io/delete-protection") {
		l.Errorf("finalizers %v", claim.Finalizers)
	}
	a := claim.Status.Allocation
	if a == nil || len(a.Devices.Results) != 1 || a.AllocationTimestamp == nil || a.NodeSelector == nil {
		l.Fatalf("allocation %+v", a)
	}
	if r := a.Devices.Results[0]; r.Request != "req" || r.Driver != "one.example.com" || r.Pool != "n2" || r.Device != "d0" {
		l.Errorf("result %+v", r)
	}
	want := corev1.NodeSelectorRequirement{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n2"}}
	if got := a.NodeSelector.NodeSelectorTerms[0].MatchFields[0]; got.Key != want.Key || got.Operator != want.Operator || got.Values[0] != "n2" {
		l.Errorf("node selector %+v", got)
	}
	for i, name := range []string{"one-a", "one-b"} {
		user := resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: name, UID: l.getPod(name).UID}
		if i >= len(claim.Status.ReservedFor) || claim.Status.ReservedFor[i] != user {
			l.Errorf("users %+v lack %+v", claim.Status.ReservedFor, user)
		}
	}
}

func waitsForDevice(l lab) {
	l.class("two.example.com", "")
	l.slice("two.example.com", "n1", resourcev1.Device{Name: "d0"})
	l.claim("two-a", "two.example.com")
	l.claim("two-b", "two.example.com")
	l.pod("two-a", "two-a", nil)
	l.onNode("two-a", "n1")
	l.pod("two-b", "two-b", nil)
	l.waits("two-b", "0/2 nodes are available: 2 cannot allocate all claims. "+
		"preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")
	l.deletePod("two-a")
	l.free("two-a")
	l.onNode("two-b", "n1")
}

// waitsForClaim: a pod whose claim isn't there is kept out of the queue, and enters it with the claim.
func waitsForClaim(l lab) {
	l.class("three.example.com", "")
	l.slice("three.example.com", "n1", resourcev1.Device{Name: "d0"})
	l.pod("three", "three", nil)
	l.claim("other", "three.example.com")
	l.pod("three-other", "other", nil)
	l.onNode("three-other", "n1")
	if p := l.getPod("three"); p.Spec.NodeName != "" {
		l.Errorf("placed on %s without its claim", p.Spec.NodeName)
	}
	l.slice("three.example.com", "n2", resourcev1.Device{Name: "d0"})
	l.claim("three", "three.example.com")
	l.onNode("three", "n2")
}

func waitsForRule(l lab) {
	l.class("four.example.com", "")
	rule := &resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "four"}, Spec: resourcev1.DeviceTaintRuleSpec{
		DeviceSelector: &resourcev1.DeviceTaintSelector{Driver: new("four.example.com")},
		Taint:          resourcev1.DeviceTaint{Key: "example.com/broken", Effect: resourcev1.DeviceTaintEffectNoSchedule},
	}}
	_, err := l.admin.ResourceV1().DeviceTaintRules().Create(l.ctx, rule, metav1.CreateOptions{})
	l.must(err)
	l.slice("four.example.com", "n1", resourcev1.Device{Name: "d0"})
	l.claim("four", "four.example.com")
	l.pod("four", "four", nil)
	l.waits("four", "0/2 nodes are available: 2 cannot allocate all claims. "+
		"preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")
	l.must(l.admin.ResourceV1().DeviceTaintRules().Delete(l.ctx, "four", metav1.DeleteOptions{}))
	l.onNode("four", "n1")
}

// freesClaim: a claim allocated on n1 that nobody uses keeps a pod off n2, until the scheduler frees it.
func freesClaim(l lab) {
	l.class("five.example.com", "")
	l.slice("five.example.com", "n1", resourcev1.Device{Name: "d0"})
	l.slice("five.example.com", "n2", resourcev1.Device{Name: "d0"})
	l.claim("five", "five.example.com")
	l.pod("five-a", "five", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "n1"} })
	l.onNode("five-a", "n1")
	l.deletePod("five-a")
	claim := l.getClaim("five")
	claim.Status.ReservedFor = nil
	_, err := l.admin.ResourceV1().ResourceClaims("default").UpdateStatus(l.ctx, claim, metav1.UpdateOptions{})
	l.must(err)
	l.pod("five-b", "five", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "n2"} })
	l.onNode("five-b", "n2")
	if pool := l.getClaim("five").Status.Allocation.Devices.Results[0].Pool; pool != "n2" {
		l.Errorf("allocated in pool %s", pool)
	}
}

// extends: a request for an extended resource becomes a claim of the pod's.
func extends(l lab) {
	l.class("six.example.com", "six.example.com/gpu")
	l.slice("six.example.com", "n2", resourcev1.Device{Name: "d0"}, resourcev1.Device{Name: "d1"})
	two := corev1.ResourceList{"six.example.com/gpu": resource.MustParse("2")}
	l.pod("six", "", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: two, Limits: two}
	})
	l.onNode("six", "n2")
	p := l.getPod("six")
	told := p.Status.ExtendedResourceClaimStatus
	if told == nil || len(told.RequestMappings) != 1 || told.RequestMappings[0] != (corev1.ContainerExtendedResourceRequest{
		ContainerName: "c", ResourceName: "six.example.com/gpu", RequestName: "container-0-request-0",
	}) {
		l.Fatalf("the pod is told %+v", told)
	}
	claim := l.getClaim(told.ResourceClaimName)
	if claim.Annotations["resource.kubernetes.io/extended-resource-claim"] != "true" || !metav1.IsControlledBy(claim, p) {
		l.Errorf("the claim isn't the pod's: %+v", claim.ObjectMeta)
	}
	if claim.Status.Allocation == nil || len(claim.Status.Allocation.Devices.Results) != 2 || len(claim.Status.ReservedFor) != 1 {
		l.Errorf("status %+v", claim.Status)
	}
}

// waitsForConditions: the pod is bound when its device's driver says that the device is ready.
func waitsForConditions(l lab) {
	l.class("seven.example.com", "")
	l.slice("seven.example.com", "n1", resourcev1.Device{
		Name: "d0", BindingConditions: []string{"example.com/attached"}, BindingFailureConditions: []string{"example.com/failed"},
	})
	l.claim("seven", "seven.example.com")
	l.pod("seven", "seven", nil)
	eventually(l.ctx, l.T, "the event", func() bool {
		return hasEvent(l.ctx, l.T, l.admin, "seven", "BindingConditionsPending", "waiting for binding conditions for device on node n1")
	})
	if p := l.getPod("seven"); p.Spec.NodeName != "" {
		l.Errorf("bound to %s before its device is ready", p.Spec.NodeName)
	}
	claim := l.getClaim("seven")
	claim.Status.Devices = []resourcev1.AllocatedDeviceStatus{{
		Driver: "seven.example.com", Pool: "n1", Device: "d0",
		Conditions: []metav1.Condition{{Type: "example.com/attached", Status: metav1.ConditionTrue, Reason: "Attached", LastTransitionTime: metav1.Now()}},
	}}
	_, err := l.admin.ResourceV1().ResourceClaims("default").UpdateStatus(l.ctx, claim, metav1.UpdateOptions{})
	l.must(err)
	l.onNode("seven", "n1")
}

// sharesOut: of more pods than devices, half of them by claims and half by an extended resource, as many are placed as there
// are devices, and no device is given twice.
func sharesOut(l lab) {
	const pods, perNode = 16, 4
	l.class("eight.example.com", "eight.example.com/gpu")
	for _, node := range []string{"n1", "n2"} {
		var devices []resourcev1.Device
		for i := range perNode {
			devices = append(devices, resourcev1.Device{Name: fmt.Sprintf("d%d", i)})
		}
		l.slice("eight.example.com", node, devices...)
	}
	one := corev1.ResourceList{"eight.example.com/gpu": resource.MustParse("1")}
	for i := range pods {
		name := fmt.Sprintf("eight-%d", i)
		if i%2 == 0 {
			l.claim(name, "eight.example.com")
			l.pod(name, name, nil)
		} else {
			l.pod(name, "", func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: one, Limits: one}
			})
		}
	}
	eventually(l.ctx, l.T, "all tried", func() bool {
		settled := 0
		for i := range pods {
			p := l.getPod(fmt.Sprintf("eight-%d", i))
			if p.Spec.NodeName != "" || len(p.Status.Conditions) > 0 && p.Status.Conditions[0].Reason == corev1.PodReasonUnschedulable {
				settled++
			}
		}
		return settled == pods
	})
	placed, given := 0, map[string]bool{}
	for i := range pods {
		if l.getPod(fmt.Sprintf("eight-%d", i)).Spec.NodeName != "" {
			placed++
		}
	}
	all, err := l.admin.ResourceV1().ResourceClaims("default").List(l.ctx, metav1.ListOptions{})
	l.must(err)
	for i := range all.Items {
		a := all.Items[i].Status.Allocation
		if a == nil || a.Devices.Results[0].Driver != "eight.example.com" {
			continue
		}
		id := a.Devices.Results[0].Pool + "/" + a.Devices.Results[0].Device
		if given[id] {
			l.Errorf("device %s is given twice", id)
		}
		given[id] = true
	}
	if placed != 2*perNode || len(given) != placed {
		l.Errorf("%d pods placed with %d devices, want %d", placed, len(given), 2*perNode)
	}
}
