package nft

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Prefixes fills a set of address ranges with those of the family: the kernel wants each as its first address and the one
// after its last.
func (b *Batch) Prefixes(f Family, name SetName, all []netip.Prefix) {
	var mine []netip.Prefix
	for _, p := range all {
		if FamilyOf(p) == f {
			mine = append(mine, p)
		}
	}
	var list attrs
	for _, p := range Disjoint(mine) {
		if len(list) >= elementBytes-256 {
			b.list(unix.NFT_MSG_NEWSETELEM, f, netlink.Create, name, list)
			list = nil
		}
		first, last := Bounds(p)
		list = list.boundary(first, 0)
		if after := last.Next(); after.IsValid() {
			list = list.boundary(after, unix.NFT_SET_ELEM_INTERVAL_END)
		}
	}
	if len(list) > 0 {
		b.list(unix.NFT_MSG_NEWSETELEM, f, netlink.Create, name, list)
	}
}

func (a attrs) boundary(at netip.Addr, flags uint32) attrs {
	return a.nest(unix.NFTA_LIST_ELEM, func(a attrs) attrs {
		if flags != 0 {
			a = a.u32(unix.NFTA_SET_ELEM_FLAGS, flags)
		}
		return a.value(unix.NFTA_SET_ELEM_KEY, string(at.AsSlice()))
	})
}

// Disjoint drops prefixes that others contain and sorts the rest by address, IPv4 first.
func Disjoint(all []netip.Prefix) []netip.Prefix {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Masked().Addr().Compare(b.Masked().Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []netip.Prefix
	for _, p := range all {
		// In this order what a prefix contains follows it, with nothing else in between.
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// Bounds is the first and last address of a prefix.
func Bounds(p netip.Prefix) (first, last netip.Addr) {
	first = p.Masked().Addr()
	raw := first.AsSlice()
	for i := p.Bits(); i < len(raw)*8; i++ {
		raw[i/8] |= 1 << (7 - i%8)
	}
	last, _ = netip.AddrFromSlice(raw)
	return first, last
}
