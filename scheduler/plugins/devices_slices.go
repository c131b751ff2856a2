package plugins

import (
	"fmt"
	"sync"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
)

// deviceSlices are the devices that drivers offer, with the taints that DeviceTaintRules add (KEP-5055).
type deviceSlices struct {
	slices resourcelisters.ResourceSliceLister
	rules  resourcelisters.DeviceTaintRuleLister

	mu      sync.Mutex
	stale   bool
	tainted []*resourcev1.ResourceSlice
}

// refresh has the next list made anew.
func (s *deviceSlices) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
}

// list answers all slices. The list and the slices are not to be changed.
func (s *deviceSlices) list() ([]*resourcev1.ResourceSlice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stale {
		return s.tainted, nil
	}
	slices, err := s.slices.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing resource slices: %w", err)
	}
	rules, err := s.rules.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing device taint rules: %w", err)
	}
	s.tainted = make([]*resourcev1.ResourceSlice, 0, len(slices))
	for _, slice := range slices {
		s.tainted = append(s.tainted, taintDevices(slice, rules))
	}
	s.stale = false
	return s.tainted, nil
}

// taintDevices adds the taints of the rules that select devices of the slice; it copies the slice only if one does. A
// rule without a selector selects nothing, an empty selector everything.
func taintDevices(slice *resourcev1.ResourceSlice, rules []*resourcev1.DeviceTaintRule) *resourcev1.ResourceSlice {
	tainted := slice
	is := func(want *string, have string) bool { return want == nil || *want == have }
	for _, rule := range rules {
		selector := rule.Spec.DeviceSelector
		if selector == nil || !is(selector.Driver, slice.Spec.Driver) || !is(selector.Pool, slice.Spec.Pool.Name) {
			continue
		}
		for i := range slice.Spec.Devices {
			if !is(selector.Device, slice.Spec.Devices[i].Name) {
				continue
			}
			if tainted == slice {
				tainted = slice.DeepCopy()
			}
			device := &tainted.Spec.Devices[i]
			device.Taints = append(device.Taints, rule.Spec.Taint)
		}
	}
	return tainted
}
