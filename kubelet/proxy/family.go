package proxy

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Family is an IP address family; each has a table of its own with the same rules.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// addrLen is the length of an address in bytes.
func (f Family) addrLen() int {
	if f == IPv6 {
		return 16
	}
	return 4
}

// of reports whether a is an address of the family.
func (f Family) of(a netip.Addr) bool {
	return a.IsValid() && a.Unmap().Is4() == (f == IPv4)
}

// nf is the netfilter protocol family (NFPROTO_*).
func (f Family) nf() uint8 {
	if f == IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// zero is the unspecified address, the key under which node ports file their endpoints.
func (f Family) zero() netip.Addr {
	if f == IPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func familyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// protocolNumber is the IP protocol of a Service port; 0 for a protocol that no rule can carry.
func protocolNumber(p corev1.Protocol) uint8 {
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

// key packs the fields of a map key as nf_tables lays a concatenation out: each field padded to 32 bits.
type key []byte

func (k key) addr(a netip.Addr) key { return append(k, a.Unmap().AsSlice()...) }

func (k key) proto(p uint8) key { return append(k, p, 0, 0, 0) }

func (k key) port(p uint16) key { return append(binary.BigEndian.AppendUint16(k, p), 0, 0) }

// index is what numgen leaves in a register: a number in the machine's own byte order.
func (k key) index(i int) key { return binary.NativeEndian.AppendUint32(k, uint32(i)) }
