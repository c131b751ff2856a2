package plugins

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	dracel "k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// compiledSelectors is how many compiled CEL expressions are kept.
const compiledSelectors = 10

// Devices is what the plugins know of devices (KEP-4381): the claims with what the scheduler has just decided on them, the
// devices that drivers offer, and the classes. All profiles share one.
type Devices struct {
	claims   *claimLedger
	slices   *deviceSlices
	classes  deviceClasses
	extended *extendedresourcecache.ExtendedResourceCache
	cel      *dracel.Cache
	informer struct{ claims, slices, rules, classes cache.SharedIndexInformer }
}

// NewDevices asks for the informers. What it knows stays empty until Watch.
func NewDevices(f informers.SharedInformerFactory) *Devices {
	resource := f.Resource().V1()
	d := &Devices{
		claims:   newClaimLedger(),
		slices:   &deviceSlices{slices: resource.ResourceSlices().Lister(), rules: resource.DeviceTaintRules().Lister(), stale: true},
		classes:  deviceClasses{resource.DeviceClasses().Lister()},
		extended: extendedresourcecache.NewExtendedResourceCache(klog.Background()),
		cel:      dracel.NewCache(compiledSelectors, dracel.Features{EnableConsumableCapacity: true}),
	}
	d.informer.claims = resource.ResourceClaims().Informer()
	d.informer.slices = resource.ResourceSlices().Informer()
	d.informer.rules = resource.DeviceTaintRules().Informer()
	d.informer.classes = resource.DeviceClasses().Informer()
	return d
}

// allocatorFeatures are those whose gate is on in v1.37 without being asked for.
func allocatorFeatures() structured.Features {
	return structured.Features{
		AdminAccess: true, PrioritizedList: true, PartitionableDevices: true, DeviceTaints: true,
		DeviceBindingAndStatus: true, ConsumableCapacity: true, FractionalCapacityRange: true,
	}
}

// Watch follows the informers and tells of every change after it is known here. It answers what to wait for before pods
// are placed. Call it once, before the informers start.
func (d *Devices) Watch(tell func(framework.Change)) ([]cache.DoneChecker, error) {
	d.claims.tell = func(before, after *resourcev1.ResourceClaim) {
		tell(framework.ChangeOf(framework.ResourceClaim, "ResourceClaim", before, after))
	}
	toSlices := func(before, after *resourcev1.ResourceSlice) {
		d.slices.refresh()
		tell(framework.ChangeOf(framework.ResourceSlice, "ResourceSlice", before, after))
	}
	// A rule changes the taints of devices, which stand in slices.
	toRules := func(_, _ *resourcev1.DeviceTaintRule) {
		d.slices.refresh()
		tell(framework.Change{Event: framework.ClusterEvent{
			Resource: framework.ResourceSlice, Action: framework.UpdateOther, Label: "ResourceSliceUpdate",
		}})
	}
	d.extended.AddEventHandler(framework.Handler(func(before, after *resourcev1.DeviceClass) {
		tell(framework.ChangeOf(framework.DeviceClass, "DeviceClass", before, after))
	}))
	var synced []cache.DoneChecker
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{d.informer.claims, framework.Handler(d.claims.observe)},
		{d.informer.slices, framework.Handler(toSlices)},
		{d.informer.rules, framework.Handler(toRules)},
		{d.informer.classes, d.extended},
	} {
		registration, err := w.informer.AddEventHandler(w.handler)
		if err != nil {
			return nil, fmt.Errorf("watching devices: %w", err)
		}
		synced = append(synced, registration.HasSyncedChecker())
	}
	return synced, nil
}

// className answers the class of devices that an extended resource stands for, "" when it stands for none (KEP-5004).
func (d *Devices) className(resource corev1.ResourceName) string {
	if class := d.extended.GetDeviceClass(resource); class != nil {
		return class.Name
	}
	return ""
}

// deviceClasses lists classes as the allocator wants them listed.
type deviceClasses struct {
	lister resourcelisters.DeviceClassLister
}

// List implements structured.DeviceClassLister.
func (c deviceClasses) List() ([]*resourcev1.DeviceClass, error) {
	return c.lister.List(labels.Everything())
}

// Get implements structured.DeviceClassLister.
func (c deviceClasses) Get(name string) (*resourcev1.DeviceClass, error) { return c.lister.Get(name) }
