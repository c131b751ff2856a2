package quota_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	clocktest "k8s.io/utils/clock/testing"

	"skiff/internal/quota"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// list reads "cpu=1 memory=2Gi".
func list(text string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for word := range strings.FieldsSeq(text) {
		name, q, _ := strings.Cut(word, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(q)
	}
	return out
}

// text writes a list as list reads it, in alphabetical order, without zeros.
func text(l corev1.ResourceList) string {
	var words []string
	for _, n := range slices.Sorted(maps.Keys(l)) {
		if q := l[n]; !q.IsZero() {
			words = append(words, string(n)+"="+q.String())
		}
	}
	return strings.Join(words, " ")
}

func pod(edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	for _, f := range edit {
		f(p)
	}
	return p
}

func asks(requests, limits string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}
	}
}

func measure(t *testing.T, m quota.Meter, o runtime.Object) string {
	t.Helper()
	used, err := m.Usage(o)
	if err != nil {
		t.Fatal(err)
	}
	return text(used)
}

func TestPodUsage(t *testing.T) {
	deleted := func(ago time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-ago)}, new(int64(30))
		}
	}
	tests := map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"nothing asked": {pod(), "count/pods=1 pods=1"},
		"compute": {
			pod(asks("cpu=1 memory=1Gi ephemeral-storage=2Gi", "cpu=2 memory=3Gi ephemeral-storage=4Gi")),
			"count/pods=1 cpu=1 ephemeral-storage=2Gi limits.cpu=2 limits.ephemeral-storage=4Gi limits.memory=3Gi memory=1Gi pods=1 requests.cpu=1 requests.ephemeral-storage=2Gi requests.memory=1Gi",
		},
		"huge pages":         {pod(asks("hugepages-2Mi=4Mi", "hugepages-2Mi=4Mi")), "count/pods=1 hugepages-2Mi=4Mi pods=1 requests.hugepages-2Mi=4Mi"},
		"extended resources": {pod(asks("example.com/gpu=2", "example.com/gpu=2")), "count/pods=1 pods=1 requests.example.com/gpu=2"},
		"device class":       {pod(asks("deviceclass.resource.kubernetes.io/a=2", "")), "count/pods=1 pods=1 requests.deviceclass.resource.kubernetes.io/a=2"},
		"native is not extended": {
			pod(asks("kubernetes.io/x=2", "")), "count/pods=1 pods=1",
		},
		"init containers": {pod(asks("cpu=1", ""), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Requests: list("cpu=3")}}}
		}), "count/pods=1 cpu=3 pods=1 requests.cpu=3"},
		"overhead": {pod(asks("cpu=1", ""), func(p *corev1.Pod) { p.Spec.Overhead = list("cpu=250m") }), "count/pods=1 cpu=1250m pods=1 requests.cpu=1250m"},
		"pod level": {pod(asks("cpu=1", ""), func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu=5"), Limits: list("cpu=6")}
		}), "count/pods=1 cpu=5 limits.cpu=6 pods=1 requests.cpu=5"},
		"shrinking": {pod(asks("cpu=1", ""), func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Resources: &corev1.ResourceRequirements{Requests: list("cpu=2")}}}
		}), "count/pods=1 cpu=2 pods=1 requests.cpu=2"},
		"succeeded":    {pod(asks("cpu=1", ""), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), "count/pods=1"},
		"failed":       {pod(asks("cpu=1", ""), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), "count/pods=1"},
		"being killed": {pod(asks("cpu=1", ""), deleted(30*time.Second)), "count/pods=1 cpu=1 pods=1 requests.cpu=1"},
		"stuck":        {pod(asks("cpu=1", ""), deleted(31*time.Second)), "count/pods=1"},
	}
	m := quota.Pods(clocktest.NewFakePassiveClock(now))
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := measure(t, m, tc.pod); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	two := pod(asks("cpu=1", "memory=1"), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "a"}}
	})
	tests := map[string]struct {
		pod     *corev1.Pod
		limited []corev1.ResourceName
		want    string
	}{
		"all stated":  {pod(asks("cpu=1", "")), []corev1.ResourceName{"cpu", "requests.cpu", "pods"}, ""},
		"two":         {two, []corev1.ResourceName{"requests.memory", "cpu", "limits.memory"}, "must specify cpu for: a; limits.memory for: a; requests.memory for: a,c"},
		"optional":    {pod(), []corev1.ResourceName{"requests.ephemeral-storage", "requests.example.com/gpu"}, ""},
		"pod level":   {pod(func(p *corev1.Pod) { p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu=1")} }), []corev1.ResourceName{"limits.cpu"}, ""},
		"named twice": {pod(), []corev1.ResourceName{"cpu", "cpu"}, "must specify cpu for: c"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := quota.Missing(tc.pod, tc.limited); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPodScopes(t *testing.T) {
	is := func(name corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) corev1.ScopedResourceSelectorRequirement {
		return corev1.ScopedResourceSelectorRequirement{ScopeName: name, Operator: op, Values: values}
	}
	high := pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })
	bounded := pod(asks("memory=1", ""), func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(5)) })
	storing := pod(asks("ephemeral-storage=1", ""))
	across := pod(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
			{PodAffinityTerm: corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}}},
		}}}
	})
	tests := []struct {
		scope   corev1.ScopedResourceSelectorRequirement
		in, out *corev1.Pod
	}{
		{is(corev1.ResourceQuotaScopeTerminating, corev1.ScopeSelectorOpExists), bounded, high},
		{is(corev1.ResourceQuotaScopeNotTerminating, corev1.ScopeSelectorOpExists), high, bounded},
		{is(corev1.ResourceQuotaScopeBestEffort, corev1.ScopeSelectorOpExists), storing, bounded},
		{is(corev1.ResourceQuotaScopeNotBestEffort, corev1.ScopeSelectorOpExists), bounded, high},
		{is(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpExists), high, bounded},
		{is(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpDoesNotExist), bounded, high},
		{is(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpIn, "low", "high"), high, bounded},
		{is(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpNotIn, "high"), bounded, high},
		{is(corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ScopeSelectorOpExists), across, high},
	}
	m := quota.Pods(clocktest.NewFakePassiveClock(now))
	for _, tc := range tests {
		in, err := m.Holds(tc.scope, tc.in)
		out, outErr := m.Holds(tc.scope, tc.out)
		if !in || out || err != nil || outErr != nil {
			t.Errorf("%v: %v, %v (%v, %v)", tc.scope, in, out, err, outErr)
		}
	}
	if _, err := m.Holds(is(corev1.ResourceQuotaScopePriorityClass, "Like", "a"), high); err == nil {
		t.Error("a selector that isn't one is taken")
	}
}

func TestServiceUsage(t *testing.T) {
	ports := []corev1.ServicePort{{Port: 1, NodePort: 30001}, {Port: 2}}
	tests := map[string]struct {
		spec corev1.ServiceSpec
		want string
	}{
		"cluster IP": {corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: ports}, "count/services=1 services=1"},
		"node port":  {corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: ports}, "count/services=1 services=1 services.nodeports=2"},
		"balancer":   {corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: ports}, "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2"},
		"balancer without allocation": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: ports, AllocateLoadBalancerNodePorts: new(false)},
			"count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
		},
	}
	for name, tc := range tests {
		if got := measure(t, quota.Services(), &corev1.Service{Spec: tc.spec}); got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestClaims(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: new("gold"), VolumeAttributesClassName: new("fast"),
		Resources: corev1.VolumeResourceRequirements{Requests: list("storage=10Gi")},
	}}
	m := quota.Claims()
	const counts = "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1"
	if got, want := measure(t, m, claim), counts+" gold.storageclass.storage.k8s.io/requests.storage=10Gi persistentvolumeclaims=1 requests.storage=10Gi"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	grown := claim.DeepCopy()
	grown.Status.AllocatedResources = list("storage=20Gi")
	if got := measure(t, m, grown); !strings.Contains(got, "requests.storage=20Gi") {
		t.Errorf("allocated more: %s", got)
	}
	if !quota.ClaimChanged(claim, grown) || quota.ClaimChanged(claim, claim) {
		t.Error("the change of the allocation is not told")
	}
	odd := claim.DeepCopy()
	odd.Spec.Resources.Requests = list("storage=100m")
	if got := measure(t, m, odd); !strings.Contains(got, " requests.storage=1") {
		t.Errorf("a part of a byte: %s", got)
	}
	names := []corev1.ResourceName{"pods", "requests.storage", "gold.storageclass.storage.k8s.io/requests.storage", "x.storageclass.storage.k8s.io/y", "count/persistentvolumeclaims"}
	if got := m.Charged(names); len(got) != 3 {
		t.Errorf("charged under %v", got)
	}
	scope := corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeVolumeAttributesClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"slow"}}
	if in, err := m.Holds(scope, claim); in || err != nil {
		t.Errorf("another class: %v, %v", in, err)
	}
	claim.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: "slow"}
	if in, err := m.Holds(scope, claim); !in || err != nil {
		t.Errorf("the class it changes to: %v, %v", in, err)
	}
}

func TestCountAndSum(t *testing.T) {
	m := quota.Count(schema.GroupResource{Group: "apps", Resource: "deployments"})
	names := []corev1.ResourceName{"count/deployments.apps", "count/deployments", "pods"}
	sum, err := m.Sum([]runtime.Object{nil, nil}, nil, m.Charged(names))
	if err != nil || text(sum) != "count/deployments.apps=2" || len(sum) != 1 {
		t.Errorf("%v, %v", sum, err)
	}
	if got := quota.Count(schema.GroupResource{Resource: "secrets"}).Charged([]corev1.ResourceName{"secrets", "count/secrets", "configmaps"}); len(got) != 2 {
		t.Errorf("an aliased kind is charged under %v", got)
	}
	scoped := []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopeBestEffort, Operator: corev1.ScopeSelectorOpExists}}
	if sum, err := m.Sum([]runtime.Object{nil}, scoped, names[:1]); err != nil || text(sum) != "" || len(sum) != 1 {
		t.Errorf("within a scope it doesn't have: %v, %v", sum, err)
	}
	if !quota.Ignored(schema.GroupResource{Resource: "events"}) || quota.Ignored(schema.GroupResource{Resource: "pods"}) {
		t.Error("what is ignored is wrong")
	}
}

// classes maps device classes to extended resources.
type classes map[string]string

func (c classes) GetExtendedResource(class string) string { return c[class] }

func (c classes) GetDeviceClass(name corev1.ResourceName) *resourcev1.DeviceClass {
	for class, extended := range c {
		if extended == string(name) {
			return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: class}}
		}
	}
	return nil
}

func TestDevices(t *testing.T) {
	exactly := func(class string, mode resourcev1.DeviceAllocationMode, n int64) resourcev1.DeviceRequest {
		return resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: mode, Count: n}}
	}
	sub := func(class string, n int64) resourcev1.DeviceSubRequest {
		return resourcev1.DeviceSubRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}
	}
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}
	claim.Spec.Devices.Requests = []resourcev1.DeviceRequest{
		exactly("a", resourcev1.DeviceAllocationModeExactCount, 2), exactly("b", resourcev1.DeviceAllocationModeAll, 0),
		{FirstAvailable: []resourcev1.DeviceSubRequest{sub("a", 1), sub("a", 3), sub("d", 1)}},
	}
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	claims := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	d := quota.Devices{
		Classes: classes{"a": "example.com/gpu"}, Clock: clocktest.NewFakePassiveClock(now),
		Pods: corelisters.NewPodLister(pods), Claims: resourcelisters.NewResourceClaimLister(claims),
	}
	m := d.Meter()
	const rest = " b.deviceclass.resource.k8s.io/devices=32 count/resourceclaims.resource.k8s.io=1 d.deviceclass.resource.k8s.io/devices=1"
	const implied = " requests.deviceclass.resource.kubernetes.io/b=32 requests.deviceclass.resource.kubernetes.io/d=1"
	want := "a.deviceclass.resource.k8s.io/devices=5" + rest + " requests.deviceclass.resource.kubernetes.io/a=5" + implied + " requests.example.com/gpu=5"
	if got := measure(t, m, claim); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	owner := pod(asks("example.com/gpu=4", "example.com/gpu=4"))
	owner.Namespace, owner.Name, owner.UID = "n", "p", "u"
	claim.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u", Controller: new(true)}}
	if err := pods.Add(owner); err != nil {
		t.Fatal(err)
	}
	want = "a.deviceclass.resource.k8s.io/devices=5" + rest + " requests.deviceclass.resource.kubernetes.io/a=5" + implied + " requests.example.com/gpu=1"
	if got := measure(t, m, claim); got != want {
		t.Errorf("of a pod that pays: got  %s\nwant %s", got, want)
	}
	first := claim.DeepCopy()
	first.Name = "b"
	if err := claims.Add(first); err != nil {
		t.Fatal(err)
	}
	if got := measure(t, m, claim); !strings.HasSuffix(got, "requests.example.com/gpu=5") {
		t.Errorf("a second claim of the pod: %s", got)
	}
	for name, charged := range map[corev1.ResourceName]bool{
		"count/resourceclaims.resource.k8s.io": true, "x.deviceclass.resource.k8s.io/devices": true,
		"requests.deviceclass.resource.kubernetes.io/a": true, "requests.deviceclass.resource.kubernetes.io/b": false,
		"requests.example.com/gpu": true, "requests.example.com/cpu": false,
	} {
		if m.Charges(name) != charged {
			t.Errorf("%s is charged: %v", name, !charged)
		}
	}
}
