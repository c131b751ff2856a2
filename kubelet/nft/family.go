package nft

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Family is an IP address family; each has a table of its own.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// AddrLen is the length of an address in bytes.
func (f Family) AddrLen() int {
	if f == IPv6 {
		return 16
	}
	return 4
}

// Of reports whether a is an address of the family.
func (f Family) Of(a netip.Addr) bool {
	return a.IsValid() && a.Unmap().Is4() == (f == IPv4)
}

// nf is the netfilter protocol family (NFPROTO_*).
func (f Family) nf() uint8 {
	if f == IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// Zero is the unspecified address.
func (f Family) Zero() netip.Addr {
	if f == IPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// FamilyOf is the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// FamiliesOf lists the families of the prefixes, each once, in their order.
func FamiliesOf(prefixes []netip.Prefix) []Family {
	var out []Family
	for _, p := range prefixes {
		if f := FamilyOf(p); !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// ProtocolNumber is the IP protocol of a port of the API; 0 for a protocol that no rule can carry.
func ProtocolNumber(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolTCP, "":
		return unix.IPPROTO_TCP
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	default:
		return 0
	}
}
