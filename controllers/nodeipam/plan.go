package nodeipam

import (
	"encoding/binary"
	"net/netip"
)

// Free answers the lowest block of size bits within cluster that overlaps none of used.
func Free(cluster netip.Prefix, bits int, used []netip.Prefix) (netip.Prefix, bool) {
	block := netip.PrefixFrom(cluster.Masked().Addr(), bits)
	for {
		clash, found := overlapping(block, used)
		if !found {
			return block, true
		}
		next, ok := after(clash, bits)
		if !ok || !cluster.Contains(next.Addr()) {
			return netip.Prefix{}, false
		}
		block = next
	}
}

// overlapping answers the larger of the block and the used prefix that it overlaps.
func overlapping(block netip.Prefix, used []netip.Prefix) (netip.Prefix, bool) {
	for _, u := range used {
		if u.Overlaps(block) {
			if u.Bits() < block.Bits() {
				return u.Masked(), true
			}
			return block, true
		}
	}
	return netip.Prefix{}, false
}

// after answers the first block of size bits behind p; false at the end of the address space.
func after(p netip.Prefix, bits int) (netip.Prefix, bool) {
	raw := p.Masked().Addr().As16()
	width := 128
	if p.Addr().Is4() {
		width = 32
	}
	shift := width - p.Bits()
	high, low := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	if shift >= 64 {
		high += 1 << (shift - 64)
	} else {
		sum := low + 1<<shift
		if sum < low {
			high++
		}
		low = sum
	}
	binary.BigEndian.PutUint64(raw[:8], high)
	binary.BigEndian.PutUint64(raw[8:], low)
	addr := netip.AddrFrom16(raw)
	if p.Addr().Is4() {
		addr = addr.Unmap()
	}
	next := netip.PrefixFrom(addr, bits)
	return next, addr.Is4() == p.Addr().Is4() && p.Addr().Less(addr)
}
