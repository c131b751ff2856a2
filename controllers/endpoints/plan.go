package endpoints

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice"
	endpointsliceutil "k8s.io/endpointslice/util"
)

// capacity is the most addresses that one Endpoints object holds; more are cut and the object says so.
const capacity = 1000

const overCapacity = "truncated"

// Subsets answers the subsets of a service's pods.
func Subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	groups := map[string]*corev1.EndpointSubset{}
	for _, pod := range pods {
		address, ok := addressOf(service, pod)
		if !ok {
			continue
		}
		ports, ok := portsOf(service, pod)
		if !ok {
			continue
		}
		key := portKey(ports)
		group, known := groups[key]
		if !known {
			group = &corev1.EndpointSubset{Ports: ports}
			groups[key] = group
		}
		if service.Spec.PublishNotReadyAddresses || endpointsliceutil.IsPodReady(pod) {
			group.Addresses = append(group.Addresses, address)
		} else {
			group.NotReadyAddresses = append(group.NotReadyAddresses, address)
		}
	}
	var subsets []corev1.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		sortAddresses(groups[key].Addresses)
		sortAddresses(groups[key].NotReadyAddresses)
		subsets = append(subsets, *groups[key])
	}
	return subsets
}

// addressOf answers the pod's address of the service's first family. Terminating pods are left out unless the service
// publishes whatever there is.
func addressOf(service *corev1.Service, pod *corev1.Pod) (corev1.EndpointAddress, bool) {
	if !endpointsliceutil.ShouldPodBeInEndpoints(pod, service.Spec.PublishNotReadyAddresses) {
		return corev1.EndpointAddress{}, false
	}
	for _, ip := range pod.Status.PodIPs {
		if !sameFamily(service, ip.IP) {
			continue
		}
		address := corev1.EndpointAddress{IP: ip.IP, NodeName: &pod.Spec.NodeName, TargetRef: &corev1.ObjectReference{
			Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		}}
		if endpointsliceutil.ShouldSetHostname(pod, service) {
			address.Hostname = pod.Spec.Hostname
		}
		return address, true
	}
	return corev1.EndpointAddress{}, false
}

func sameFamily(service *corev1.Service, ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	six := false
	if len(service.Spec.IPFamilies) > 0 {
		six = service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	} else if cluster, err := netip.ParseAddr(service.Spec.ClusterIP); err == nil {
		six = cluster.Is6()
	}
	return addr.Is6() == six
}

// portsOf answers the pod's ports; false when it has none of those that the service names. A headless service needs no
// port.
func portsOf(service *corev1.Service, pod *corev1.Pod) ([]corev1.EndpointPort, bool) {
	var ports []corev1.EndpointPort
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		number, err := endpointslice.FindPort(pod, p)
		if err != nil {
			continue
		}
		ports = append(ports, corev1.EndpointPort{Name: p.Name, Port: int32(number), Protocol: p.Protocol, AppProtocol: p.AppProtocol})
	}
	headless := len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone
	slices.SortFunc(ports, func(a, b corev1.EndpointPort) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), strings.Compare(string(a.Protocol), string(b.Protocol)))
	})
	return ports, len(ports) > 0 || headless
}

func portKey(ports []corev1.EndpointPort) string {
	var key strings.Builder
	for _, p := range ports {
		key.WriteString(p.String())
	}
	return key.String()
}

func sortAddresses(addresses []corev1.EndpointAddress) {
	slices.SortFunc(addresses, func(a, b corev1.EndpointAddress) int {
		return cmp.Or(strings.Compare(a.IP, b.IP), strings.Compare(string(a.TargetRef.UID), string(b.TargetRef.UID)))
	})
}

// truncate cuts subsets to the capacity, not-ready addresses first; it answers whether it had to.
func truncate(subsets []corev1.EndpointSubset) bool {
	ready, all := 0, 0
	for _, s := range subsets {
		ready += len(s.Addresses)
		all += len(s.Addresses) + len(s.NotReadyAddresses)
	}
	if all <= capacity {
		return false
	}
	roomReady, roomNot := min(ready, capacity), max(0, capacity-ready)
	for i := range subsets {
		n, m := min(roomReady, len(subsets[i].Addresses)), min(roomNot, len(subsets[i].NotReadyAddresses))
		subsets[i].Addresses, subsets[i].NotReadyAddresses = subsets[i].Addresses[:n], subsets[i].NotReadyAddresses[:m]
		roomReady, roomNot = roomReady-n, roomNot-m
	}
	return true
}

// Desired answers the service's Endpoints as they should be, nil if they are.
func Desired(service *corev1.Service, current *corev1.Endpoints, pods []*corev1.Pod) *corev1.Endpoints {
	wanted := current.DeepCopy()
	wanted.Subsets = Subsets(service, pods)
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	delete(wanted.Annotations, corev1.EndpointsOverCapacity)
	if truncate(wanted.Subsets) {
		wanted.Annotations[corev1.EndpointsOverCapacity] = overCapacity
	}
	wanted.Labels = labelsOf(service)
	if equality.Semantic.DeepEqual(current.Subsets, wanted.Subsets) && maps.Equal(current.Labels, wanted.Labels) &&
		current.Annotations[corev1.EndpointsOverCapacity] == wanted.Annotations[corev1.EndpointsOverCapacity] && current.ResourceVersion != "" {
		return nil
	}
	return wanted
}

// labelsOf answers the service's labels, marked as written by this controller, and as headless where they are.
func labelsOf(service *corev1.Service) map[string]string {
	labels := maps.Clone(service.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[managedBy] = manager
	return labels
}

const (
	managedBy = "endpoints.kubernetes.io/managed-by"
	manager   = "endpoint-controller"
)

func blank(service *corev1.Service) *corev1.Endpoints {
	return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: service.Name, Namespace: service.Namespace}}
}
