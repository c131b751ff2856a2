package framework

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Resource is a resource list as plain integers: CPU in millicores, memory and ephemeral storage in bytes.
type Resource struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	// AllowedPods is the node's pod limit; unused for requests.
	AllowedPods int
	// Scalar holds extended resources, huge pages and attachable volumes. It is shared and never written after creation.
	Scalar map[corev1.ResourceName]int64
}

// NewResource converts a resource list.
func NewResource(list corev1.ResourceList) Resource {
	var r Resource
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = quantity.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = quantity.Value()
		case corev1.ResourcePods:
			r.AllowedPods = int(quantity.Value())
		default:
			r.setScalar(name, quantity)
		}
	}
	return r
}

func (r *Resource) setScalar(name corev1.ResourceName, quantity resource.Quantity) {
	if !isScalar(name) {
		return
	}
	if r.Scalar == nil {
		r.Scalar = make(map[corev1.ResourceName]int64)
	}
	r.Scalar[name] = quantity.Value()
}

// Plus answers r + o without touching either.
func (r Resource) Plus(o Resource) Resource { return r.combine(o, 1) }

// Minus answers r - o without touching either.
func (r Resource) Minus(o Resource) Resource { return r.combine(o, -1) }

func (r Resource) combine(o Resource, sign int64) Resource {
	r.MilliCPU += sign * o.MilliCPU
	r.Memory += sign * o.Memory
	r.EphemeralStorage += sign * o.EphemeralStorage
	if len(o.Scalar) == 0 {
		return r
	}
	sum := make(map[corev1.ResourceName]int64, len(r.Scalar)+len(o.Scalar))
	maps.Copy(sum, r.Scalar)
	for name, v := range o.Scalar {
		sum[name] += sign * v
	}
	r.Scalar = sum
	return r
}

// isScalar reports the resources upstream counts by name: extended, huge pages, attachable volumes, prefixed native.
func isScalar(name corev1.ResourceName) bool {
	s := string(name)
	return IsExtendedResource(name) || strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(s, corev1.ResourceAttachableVolumesPrefix) || strings.Contains(s, corev1.ResourceDefaultNamespacePrefix)
}

// IsExtendedResource reports a fully qualified resource name outside kubernetes.io.
func IsExtendedResource(name corev1.ResourceName) bool {
	s := string(name)
	if !strings.Contains(s, "/") || strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) ||
		strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+s)) == 0
}
