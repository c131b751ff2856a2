package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/kubelet/nft"
	"skiff/kubelet/nft/nfttest"
)

// oracle answers what the API's documentation says of a packet, object by object, with no regard for speed.
type oracle struct {
	pods       map[Name]*corev1.Pod
	namespaces map[string]*corev1.Namespace
	policies   map[Name]*networkingv1.NetworkPolicy
}

// at is the pod that has the address; nil for none. Tests give an address to one living pod at most.
func (o oracle) at(a netip.Addr) *corev1.Pod {
	for _, p := range o.pods {
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, ip := range p.Status.PodIPs {
			if netip.MustParseAddr(ip.IP) == a {
				return p
			}
		}
	}
	return nil
}

// permits reports whether a new connection is let through by this node.
func (o oracle) permits(p nfttest.Packet) bool {
	src, dst := o.at(p.Src), o.at(p.Dst)
	if p.Src == p.Dst {
		return true
	}
	return o.side(src, networkingv1.PolicyTypeEgress, p.Dst, dst, dst, p) && o.side(dst, networkingv1.PolicyTypeIngress, p.Src, src, dst, p)
}

func (o oracle) side(mine *corev1.Pod, way networkingv1.PolicyType, peer netip.Addr, other, dst *corev1.Pod, p nfttest.Packet) bool {
	if mine == nil || mine.Spec.NodeName != testNode {
		return true
	}
	isolated := false
	for _, policy := range o.policies {
		if policy.Namespace != mine.Namespace || !matches(&policy.Spec.PodSelector, mine.Labels) {
			continue
		}
		for _, t := range policy.Spec.PolicyTypes {
			if t != way {
				continue
			}
			isolated = true
			if o.rules(policy, way, peer, other, dst, p) {
				return true
			}
		}
	}
	return !isolated
}

func (o oracle) rules(policy *networkingv1.NetworkPolicy, way networkingv1.PolicyType, peer netip.Addr, other, dst *corev1.Pod, p nfttest.Packet) bool {
	if way == networkingv1.PolicyTypeIngress {
		for _, r := range policy.Spec.Ingress {
			if o.peers(policy.Namespace, r.From, peer, other) && ported(r.Ports, dst, p) {
				return true
			}
		}
		return false
	}
	for _, r := range policy.Spec.Egress {
		if o.peers(policy.Namespace, r.To, peer, other) && ported(r.Ports, dst, p) {
			return true
		}
	}
	return false
}

func (o oracle) peers(namespace string, peers []networkingv1.NetworkPolicyPeer, addr netip.Addr, pod *corev1.Pod) bool {
	for _, p := range peers {
		switch {
		case p.IPBlock != nil:
			in := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(addr)
			for _, e := range p.IPBlock.Except {
				in = in && !netip.MustParsePrefix(e).Contains(addr)
			}
			if in {
				return true
			}
		case pod == nil:
		case p.NamespaceSelector == nil:
			if pod.Namespace == namespace && matches(p.PodSelector, pod.Labels) {
				return true
			}
		default:
			ns := o.namespaces[pod.Namespace]
			if ns != nil && matches(p.NamespaceSelector, ns.Labels) && (p.PodSelector == nil || matches(p.PodSelector, pod.Labels)) {
				return true
			}
		}
	}
	return len(peers) == 0
}

func ported(ports []networkingv1.NetworkPolicyPort, dst *corev1.Pod, p nfttest.Packet) bool {
	for _, port := range ports {
		if nft.ProtocolNumber(*port.Protocol) != p.Proto {
			continue
		}
		switch {
		case port.Port == nil:
			return true
		case port.Port.StrVal != "":
			if dst == nil {
				continue
			}
			for _, c := range dst.Spec.Containers[0].Ports {
				if c.Name == port.Port.StrVal && nft.ProtocolNumber(c.Protocol) == p.Proto && uint16(c.ContainerPort) == p.Port {
					return true
				}
			}
		case port.EndPort != nil:
			if int32(p.Port) >= port.Port.IntVal && int32(p.Port) <= *port.EndPort {
				return true
			}
		case int32(p.Port) == port.Port.IntVal:
			return true
		}
	}
	return len(ports) == 0
}

func matches(s *metav1.LabelSelector, l map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}
