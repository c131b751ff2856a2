package podspec

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// OwnerWarnings warns of the template, at the path, of an object that makes
// pods: when it is new and, of changes, when they are of the spec. Old is a nil
// pointer when obj is new. A named object's pods are named after it.
func OwnerWarnings(obj, old metav1.Object, t *corev1.PodTemplateSpec, path *field.Path, named bool) (out []string) {
	fresh := old == nil || reflect.ValueOf(old).IsNil()
	if fresh && named {
		out = WarnName(obj.GetName(), PodNamesAndHost)
	}
	if t != nil && (fresh || obj.GetGeneration() != old.GetGeneration()) {
		out = append(out, TemplateWarnings(t, path)...)
	}
	return out
}
