package proxy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/nft"
)

// Pod plans the elements of a pod's host ports: packets to the port on an address of this node go to the pod.
// A pod that has ended, has no address yet, or lives on the host's own network has none.
func (p Planner) Pod(pod *corev1.Pod) []Element {
	if pod == nil || pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var out []Element
	for _, f := range p.Families {
		addr, ok := podAddr(f, pod)
		if !ok {
			continue
		}
		b := builder{family: f}
		for _, c := range containers(pod) {
			for _, port := range c.Ports {
				b.hostPort(port, addr)
			}
		}
		out = append(out, b.out...)
	}
	return out
}

// HasHostPorts reports whether Pod may plan anything, now or later.
func HasHostPorts(pod *corev1.Pod) bool {
	if pod.Spec.HostNetwork {
		return false
	}
	for _, c := range containers(pod) {
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				return true
			}
		}
	}
	return false
}

// containers is those that live as long as the pod: its containers and its restartable init containers.
func containers(pod *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	return out
}

func (b *builder) hostPort(port corev1.ContainerPort, pod netip.Addr) {
	proto := nft.ProtocolNumber(port.Protocol)
	if port.HostPort == 0 || proto == 0 {
		return
	}
	to := Value{Target: string(nft.Key(nil).Addr(pod).Port(uint16(port.ContainerPort)))}
	host, err := netip.ParseAddr(port.HostIP)
	at := frontend{addr: host, proto: proto, port: uint16(port.HostPort)}
	switch {
	case port.HostIP == "" || (err == nil && host.IsUnspecified()):
		at.node = true
		b.add(HostPorts, at.short(), to)
	case err == nil && b.family.Of(host):
		b.add(HostPortAddrs, at.full(), to)
	default:
		return
	}
	b.set(Hairpins, nft.Key(nil).Addr(pod).Addr(pod))
}

func podAddr(f nft.Family, pod *corev1.Pod) (netip.Addr, bool) {
	texts := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil && f.Of(addr) {
			return addr.Unmap(), true
		}
	}
	return netip.Addr{}, false
}
