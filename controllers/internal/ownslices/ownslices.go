// Package ownslices owns the answer to which services an event of an EndpointSlice concerns, for the controllers that
// keep slices of their own.
package ownslices

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	endpointsliceutil "k8s.io/endpointslice/util"

	"skiff/controllers/internal/controller"
)

// Services answers the keys of a watch on EndpointSlices: the service of a slice labelled as managed by manager that
// somebody else changed or deleted. The manager's own writes, which the tracker knows, need no answer.
func Services(manager string, tracker *endpointsliceutil.EndpointSliceTracker) func(before, after metav1.Object) []controller.Key {
	managed := func(slice *discoveryv1.EndpointSlice) bool {
		return slice.Labels[discoveryv1.LabelManagedBy] == manager
	}
	return func(before, after metav1.Object) []controller.Key {
		old, _ := before.(*discoveryv1.EndpointSlice)
		slice, _ := after.(*discoveryv1.EndpointSlice)
		switch {
		case slice == nil:
			if managed(old) && tracker.Has(old) && !tracker.HandleDeletion(old) {
				return serviceOf(old)
			}
			return nil
		case old != nil && (managed(old) != managed(slice) || old.Labels[discoveryv1.LabelServiceName] != slice.Labels[discoveryv1.LabelServiceName]):
			return append(serviceOf(old), serviceOf(slice)...)
		case managed(slice) && tracker.ShouldSync(slice):
			return serviceOf(slice)
		}
		return nil
	}
}

func serviceOf(slice *discoveryv1.EndpointSlice) []controller.Key {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return nil
	}
	return []controller.Key{{Namespace: slice.Namespace, Name: name}}
}
