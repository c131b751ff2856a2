package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// capacityOf is what the machine has.
func capacityOf(config Config, m machine) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(m.cpus, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.memory, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(config.MaxPods, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.storage, resource.BinarySI),
	}
	for size, bytes := range m.hugePages {
		list[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size)] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return list
}

// allocatableOf is what pods may request: the capacity without what is reserved and what must stay free. Memory set
// aside in huge pages can be had only as huge pages.
func allocatableOf(config Config, m machine, capacity corev1.ResourceList) corev1.ResourceList {
	list := capacity.DeepCopy()
	take := func(name corev1.ResourceName, amount resource.Quantity) {
		left, ok := list[name]
		if !ok {
			return
		}
		left.Sub(amount)
		if left.Sign() < 0 {
			left = *resource.NewQuantity(0, left.Format)
		}
		list[name] = left
	}
	for name, amount := range config.Reserved {
		take(name, amount)
	}
	take(corev1.ResourceMemory, config.EvictionMemory)
	take(corev1.ResourceEphemeralStorage, *resource.NewQuantity(int64(float64(m.storage)*config.EvictionStorage), resource.BinarySI))
	for _, bytes := range m.hugePages {
		take(corev1.ResourceMemory, *resource.NewQuantity(bytes, resource.BinarySI))
	}
	return list
}
