package core

import (
	"encoding/binary"
	"iter"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// shortestIPv6 is the shortest prefix of an IPv6 range of Services.
const shortestIPv6 = 64

// addressRange is a range of Service addresses. Its network address is none of
// them, and neither is the broadcast address of an IPv4 range.
type addressRange struct {
	prefix netip.Prefix
	// size is the number of addresses, capped. Of these the first static ones
	// are handed out by themselves only when the others are used up: they are
	// what people choose by hand (KEP-3070).
	size, static uint64
}

func newAddressRange(p netip.Prefix) addressRange {
	p = p.Masked()
	host := p.Addr().BitLen() - p.Bits()
	total := uint64(math.MaxUint64)
	if host < 64 {
		total = 1 << host
	}
	r := addressRange{prefix: p, size: total, static: band(total, 16, 16, 256)}
	if host < 64 {
		r.size--
		if p.Addr().Is4() && r.size > 0 {
			r.size--
		}
	}
	return r
}

// band is the size of the static band of a range of size: one part in divisor,
// of at least least and at most most; nothing of a range of at most least.
func band(size, divisor, least, most uint64) uint64 {
	if size <= least {
		return 0
	}
	return min(max(size/divisor, least), most)
}

// contains reports whether a Service can have the address.
func (r addressRange) contains(ip netip.Addr) bool {
	if !r.prefix.Contains(ip) || ip == r.prefix.Addr() {
		return false
	}
	return !ip.Is4() || ip != advance(r.prefix.Addr(), r.size+1)
}

// at is the address number n of the range, from 0.
func (r addressRange) at(n uint64) netip.Addr { return advance(r.prefix.Addr(), n+1) }

// candidates yields every address once: those behind the static band from a
// random one on, then those of the band.
func (r addressRange) candidates() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, b := range [][2]uint64{{r.static, r.size}, {0, r.static}} {
			if b[0] >= b[1] {
				continue
			}
			width := b[1] - b[0]
			start := rand.Uint64N(width) //nolint:gosec // not a secret
			for i := range width {
				if !yield(r.at(b[0] + (start+i)%width)) {
					return
				}
			}
		}
	}
}

// advance is the address n above ip.
func advance(ip netip.Addr, n uint64) netip.Addr {
	raw := ip.As16()
	low, carry := bits.Add64(binary.BigEndian.Uint64(raw[8:]), n, 0)
	binary.BigEndian.PutUint64(raw[8:], low)
	binary.BigEndian.PutUint64(raw[:8], binary.BigEndian.Uint64(raw[:8])+carry)
	out := netip.AddrFrom16(raw)
	if ip.Is4() {
		return out.Unmap()
	}
	return out
}
