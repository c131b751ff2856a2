package plugins

import (
	corev1 "k8s.io/api/core/v1"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// resourceWeights are the resources a score looks at.
type resourceWeights []resourceWeight

type resourceWeight struct {
	name   corev1.ResourceName
	weight int64
}

// weigh takes over resources as configured. None means CPU and memory; a weight of 0 is 1.
func weigh(specs []schedv1.ResourceSpec) resourceWeights {
	if len(specs) == 0 {
		return resourceWeights{{corev1.ResourceCPU, 1}, {corev1.ResourceMemory, 1}}
	}
	weights := make(resourceWeights, 0, len(specs))
	for _, s := range specs {
		weights = append(weights, resourceWeight{corev1.ResourceName(s.Name), max(s.Weight, 1)})
	}
	return weights
}

// amounts of one resource: what the pod requests, what is used on the node without it, what the node has. A capacity of
// 0 means that the resource doesn't count: the node has none, or it is one counted by name and the pod wants none.
type amounts struct{ wanted, used, capacity int64 }

// share is the used part of the capacity, at most 1.
func share(used, capacity int64) float64 {
	return min(1, float64(used)/float64(capacity))
}

// amountsOf reads a resource. With defaults, containers that request no CPU or memory count with upstream's defaults.
func amountsOf(name corev1.ResourceName, pod *framework.PodInfo, node *framework.NodeInfo, defaults bool) amounts {
	switch name {
	case corev1.ResourceCPU:
		if defaults {
			return amounts{pod.ScoredCPU, node.NonZeroCPU, node.Allocatable.MilliCPU}
		}
		return amounts{pod.Requests.MilliCPU, node.Requested.MilliCPU, node.Allocatable.MilliCPU}
	case corev1.ResourceMemory:
		if defaults {
			return amounts{pod.ScoredMemory, node.NonZeroMemory, node.Allocatable.Memory}
		}
		return amounts{pod.Requests.Memory, node.Requested.Memory, node.Allocatable.Memory}
	case corev1.ResourceEphemeralStorage:
		return amounts{pod.Requests.EphemeralStorage, node.Requested.EphemeralStorage, node.Allocatable.EphemeralStorage}
	default:
		wanted := pod.Requests.Scalar[name]
		if wanted == 0 {
			return amounts{}
		}
		return amounts{wanted, node.Requested.Scalar[name], node.Allocatable.Scalar[name]}
	}
}
