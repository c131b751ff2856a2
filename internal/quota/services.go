package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var serviceNames = []corev1.ResourceName{
	"count/services", corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// Services is the meter of services.
func Services() Meter {
	return Meter{
		Resource: schema.GroupResource{Resource: "services"},
		Charges:  func(n corev1.ResourceName) bool { return slices.Contains(serviceNames, n) },
		Usage: func(o runtime.Object) (corev1.ResourceList, error) {
			s, err := as[*corev1.Service](o)
			if err != nil {
				return nil, err
			}
			return serviceUsage(s), nil
		},
	}
}

// serviceUsage goes by what is asked for: node ports may not be allocated yet.
func serviceUsage(s *corev1.Service) corev1.ResourceList {
	used := corev1.ResourceList{
		"count/services": one(), corev1.ResourceServices: one(),
		corev1.ResourceServicesLoadBalancers: number(0), corev1.ResourceServicesNodePorts: number(0),
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		used[corev1.ResourceServicesNodePorts] = number(int64(len(s.Spec.Ports)))
	case corev1.ServiceTypeLoadBalancer:
		used[corev1.ResourceServicesLoadBalancers] = one()
		used[corev1.ResourceServicesNodePorts] = number(balancerPorts(s))
	}
	return used
}

func balancerPorts(s *corev1.Service) int64 {
	if allocate := s.Spec.AllocateLoadBalancerNodePorts; allocate == nil || *allocate {
		return int64(len(s.Spec.Ports))
	}
	n := int64(0)
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			n++
		}
	}
	return n
}
