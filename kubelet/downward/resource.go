package downward

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resource answers a container's request or limit in units of the reference's divisor, rounded up. A limit that is not
// set is the pod's limit, else what the node can allocate.
func Resource(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	side, name, _ := strings.Cut(ref.Resource, ".")
	key := corev1.ResourceName(name)
	if !supported(side, key) {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	quantity := c.Resources.Requests[key]
	if side == "limits" {
		quantity = limit(pod, c, key, allocatable)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if key == corev1.ResourceCPU {
		return ceilDiv(quantity.MilliValue(), divisor.MilliValue()), nil
	}
	return ceilDiv(quantity.Value(), divisor.Value()), nil
}

// Container finds the named container among all of the pod's containers.
func Container(pod *corev1.Pod, name string) (*corev1.Container, error) {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i], nil
			}
		}
	}
	return nil, fmt.Errorf("container %s not found", name)
}

func supported(side string, key corev1.ResourceName) bool {
	if side != "limits" && side != "requests" {
		return false
	}
	switch key {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return strings.HasPrefix(string(key), corev1.ResourceHugePagesPrefix)
}

func limit(pod *corev1.Pod, c *corev1.Container, key corev1.ResourceName, allocatable corev1.ResourceList) resource.Quantity {
	if q, ok := c.Resources.Limits[key]; ok && !q.IsZero() {
		return q
	}
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Limits[key]; ok && !q.IsZero() {
			return q
		}
	}
	return allocatable[key]
}

// ceilDiv divides rounding up; the divisor is at least 1 after validation, and a smaller one counts as 1.
func ceilDiv(value, divisor int64) string {
	divisor = max(divisor, 1)
	quotient := value / divisor
	if value%divisor > 0 {
		quotient++
	}
	return strconv.FormatInt(quotient, 10)
}
