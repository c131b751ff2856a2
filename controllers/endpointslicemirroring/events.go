package endpointslicemirroring

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"skiff/controllers/internal/controller"
)

// mirrors answers whether the Endpoints themselves allow to be mirrored: those that somebody asked to be left alone, and
// those that serve as a lock, do not.
func mirrors(endpoints *corev1.Endpoints) bool {
	if endpoints == nil {
		return false
	}
	_, lock := endpoints.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]
	return !lock && endpoints.Labels[discoveryv1.LabelSkipMirror] != "true"
}

func ofEndpoints(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Endpoints)
	endpoints, _ := after.(*corev1.Endpoints)
	if !mirrors(old) && !mirrors(endpoints) {
		return nil
	}
	return controller.Self(before, after)
}

// ofService answers a service without a selector that came or went, and one that won or lost its selector.
func ofService(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Service)
	service, _ := after.(*corev1.Service)
	if without(old) == without(service) {
		return nil
	}
	return controller.Self(before, after)
}

func without(service *corev1.Service) bool { return service != nil && service.Spec.Selector == nil }
