package resourceclaim

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func ptr[T any](v T) *T { return &v }

func consumer(name string) resourcev1.ResourceClaimConsumerReference {
	return resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: name, UID: types.UID(name)}
}

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "web"}}
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr("gpus")}}
	for _, f := range change {
		f(p)
	}
	return p
}

func noted(p *corev1.Pod) {
	p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "gpu", ResourceClaimName: ptr("web-gpu-x")}}
}

func bound(p *corev1.Pod)   { p.Spec.NodeName = "node-1" }
func deleted(p *corev1.Pod) { p.DeletionTimestamp = ptr(metav1.Now()) }

func claim(change ...func(*resourcev1.ResourceClaim)) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "web-gpu-x", Namespace: "shop"}}
	c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web", UID: "web", Controller: ptr(true)}}
	for _, f := range change {
		f(c)
	}
	return c
}

func allocated(c *resourcev1.ResourceClaim) { c.Status.Allocation = &resourcev1.AllocationResult{} }
func finalizer(c *resourcev1.ResourceClaim) {
	c.Finalizers = []string{"example.com/other", resourcev1.Finalizer}
}
func ending(c *resourcev1.ResourceClaim)  { c.DeletionTimestamp = ptr(metav1.Now()) }
func foreign(c *resourcev1.ResourceClaim) { c.OwnerReferences[0].UID = "other" }
func reserved(names ...string) func(*resourcev1.ResourceClaim) {
	return func(c *resourcev1.ResourceClaim) {
		for _, n := range names {
			c.Status.ReservedFor = append(c.Status.ReservedFor, consumer(n))
		}
	}
}

func TestNext(t *testing.T) {
	for name, tt := range map[string]struct {
		claim     *resourcev1.ResourceClaim
		remaining []resourcev1.ResourceClaimConsumerReference
		want      Step
	}{
		"all remain": {claim(allocated, finalizer, reserved("a", "b")), []resourcev1.ResourceClaimConsumerReference{consumer("a"), consumer("b")}, Step{}},
		"one goes": {claim(allocated, finalizer, reserved("a", "b")), []resourcev1.ResourceClaimConsumerReference{consumer("b")},
			Step{Status: true, Remaining: []resourcev1.ResourceClaimConsumerReference{consumer("b")}}},
		"the last goes":                    {claim(allocated, finalizer, reserved("a")), nil, Step{Status: true, Deallocate: true, Release: true}},
		"without the finalizer":            {claim(allocated, reserved("a")), nil, Step{Status: true}},
		"never reserved, allocated":        {claim(allocated, finalizer), nil, Step{}},
		"never reserved, deleted":          {claim(allocated, finalizer, ending), nil, Step{Status: true, Deallocate: true, Release: true}},
		"deleted without allocation":       {claim(finalizer, ending), nil, Step{Release: true}},
		"deleted in use":                   {claim(allocated, finalizer, ending, reserved("a")), []resourcev1.ResourceClaimConsumerReference{consumer("a")}, Step{}},
		"deleted, kept by other finalizer": {claim(ending), nil, Step{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Next(tt.claim, tt.remaining)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWanting(t *testing.T) {
	user := func(p *corev1.Pod) {
		p.Spec.ResourceClaims[0] = corev1.PodResourceClaim{Name: "gpu", ResourceClaimName: ptr("web-gpu-x")}
	}
	needless := func(p *corev1.Pod) { p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "gpu"}} }
	for name, tt := range map[string]struct {
		pod   *corev1.Pod
		claim *resourcev1.ResourceClaim
		want  bool
	}{
		"a new pod":                     {pod(), nil, true},
		"its claim is noted, not there": {pod(noted), nil, true},
		"its claim is there":            {pod(noted), claim(), false},
		"its claim is foreign":          {pod(noted, bound), claim(foreign, allocated), false},
		"deleted":                       {pod(deleted), nil, false},
		"no claim needed":               {pod(needless), nil, false},
		"a user's claim is missing":     {pod(user, bound), nil, false},
		"bound, not reserved":           {pod(noted, bound), claim(allocated), true},
		"bound, not allocated":          {pod(noted, bound), claim(), false},
		"not bound, not reserved":       {pod(noted), claim(allocated), false},
		"bound and reserved":            {pod(noted, bound), claim(allocated, reserved("web")), false},
	} {
		t.Run(name, func(t *testing.T) {
			got := Wanting(tt.pod, func(name string) *resourcev1.ResourceClaim {
				if name != "web-gpu-x" {
					t.Errorf("asked for %q", name)
				}
				return tt.claim
			})
			if got != tt.want {
				t.Errorf("wanting is %v", got)
			}
		})
	}
}

func TestNewClaim(t *testing.T) {
	template := &resourcev1.ResourceClaimTemplate{Spec: resourcev1.ResourceClaimTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tier": "fast"}, Annotations: map[string]string{"note": "kept"}},
	}}
	template.Spec.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "one"}}
	want := &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "web-gpu-", Namespace: "shop", Labels: map[string]string{"tier": "fast"},
			Annotations:     map[string]string{"note": "kept", "resource.kubernetes.io/pod-claim-name": "gpu"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web", UID: "web", Controller: ptr(true)}},
		},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "one"}}}},
	}
	if diff := cmp.Diff(want, NewClaim(pod(), "gpu", template)); diff != "" {
		t.Error(diff)
	}
	if len(template.Spec.Annotations) != 1 {
		t.Error("the template was changed")
	}
	long := nameBase(strings.Repeat("p", 120), strings.Repeat("c", 40))
	if len(long) > longestBase || strings.Count(long, "p") != 120*57/162 || strings.Count(long, "c") != 40*57/162 {
		t.Errorf("base %s", long)
	}
}

func TestMadeAndNames(t *testing.T) {
	mine := claim(func(c *resourcev1.ResourceClaim) {
		c.Annotations = map[string]string{resourcev1.PodResourceClaimAnnotation: "gpu"}
	})
	if Made([]*resourcev1.ResourceClaim{claim(), mine}, "gpu") != mine || Made([]*resourcev1.ResourceClaim{claim(), mine}, "nic") != nil {
		t.Error("another claim was found")
	}
	order, names := Names(pod(noted), map[string]string{"disk": "web-disk-y"})
	if diff := cmp.Diff([]string{"disk", "gpu"}, order); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"disk": "web-disk-y", "gpu": "web-gpu-x"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestDoneAndOwner(t *testing.T) {
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"waiting": {pod(), false}, "running": {pod(bound), false}, "ending": {pod(bound, deleted), false}, "deleted unbound": {pod(deleted), true},
		"succeeded": {pod(bound, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), true},
		"failed":    {pod(bound, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), true},
	} {
		if Done(tt.pod) != tt.want {
			t.Errorf("%s: done is %v", name, !tt.want)
		}
	}
	if name, uid := Owner(claim()); name != "web" || uid != "web" {
		t.Errorf("owner %s %s", name, uid)
	}
	if name, _ := Owner(claim(func(c *resourcev1.ResourceClaim) { c.OwnerReferences[0].Controller = nil })); name != "" {
		t.Errorf("%s does not control the claim", name)
	}
}

func TestCount(t *testing.T) {
	extended := claim(allocated, func(c *resourcev1.ResourceClaim) {
		c.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	})
	admin := claim(func(c *resourcev1.ResourceClaim) {
		c.Annotations = map[string]string{resourcev1.PodResourceClaimAnnotation: "gpu"}
		c.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Exactly: &resourcev1.ExactDeviceRequest{AdminAccess: ptr(true)}}}
	})
	want := map[[3]string]int{{"true", "false", "extended_resource"}: 1, {"false", "true", "resource_claim_template"}: 2, {"false", "false", ""}: 1}
	if diff := cmp.Diff(want, count([]*resourcev1.ResourceClaim{extended, admin, admin, claim()})); diff != "" {
		t.Error(diff)
	}
}
