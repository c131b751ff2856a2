package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff/kubelet/nft"
)

// ports is where connections go. The zero value is nowhere.
type ports struct {
	any   bool
	fixed []portRange // disjoint, sorted
	named []namedPort // sorted
}

// portRange is the ports first to last of an IP protocol.
type portRange struct {
	proto       uint8
	first, last uint16
}

// namedPort is a port that pods give a name.
type namedPort struct {
	proto uint8
	name  string
}

func newPorts(all []networkingv1.NetworkPolicyPort) ports {
	if len(all) == 0 {
		return ports{any: true}
	}
	var out ports
	for _, p := range all {
		proto := nft.ProtocolNumber(deref(p.Protocol, corev1.ProtocolTCP))
		switch {
		case proto == 0:
		case p.Port == nil:
			out.fixed = append(out.fixed, portRange{proto, 0, 1<<16 - 1})
		case p.Port.Type == intstr.String:
			out.named = append(out.named, namedPort{proto, p.Port.StrVal})
		case p.Port.IntVal > 0 && p.Port.IntVal < 1<<16:
			first := uint16(p.Port.IntVal)
			last := deref(p.EndPort, p.Port.IntVal)
			out.fixed = append(out.fixed, portRange{proto, first, uint16(min(max(last, p.Port.IntVal), 1<<16-1))})
		}
	}
	out.fixed = merge(out.fixed)
	slices.SortFunc(out.named, compareNamed)
	out.named = slices.Compact(out.named)
	return out
}

// merge joins ranges that overlap or touch, as the kernel refuses overlaps.
func merge(all []portRange) []portRange {
	slices.SortFunc(all, func(a, b portRange) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last))
	})
	var out []portRange
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].proto == r.proto && int(r.first) <= int(out[n-1].last)+1 {
			out[n-1].last = max(out[n-1].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

func compareNamed(a, b namedPort) int {
	return cmp.Or(cmp.Compare(a.proto, b.proto), strings.Compare(a.name, b.name))
}

func (p ports) text() string {
	if p.any {
		return "any"
	}
	return fmt.Sprint(p.fixed, p.named)
}

func (n namedPort) text() string { return fmt.Sprint(n.proto, " ", n.name) }

// containerPort is a named port of a pod.
type containerPort struct {
	namedPort
	number uint16
}

// namedPorts lists those of the containers that live as long as the pod: its containers and its restartable init
// containers.
func namedPorts(pod *corev1.Pod) []containerPort {
	var out []containerPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if proto := nft.ProtocolNumber(p.Protocol); p.Name != "" && proto != 0 {
				out = append(out, containerPort{namedPort{proto, p.Name}, uint16(p.ContainerPort)})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
