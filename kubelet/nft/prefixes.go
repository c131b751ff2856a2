package nft

import (
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
	if len(mine) == 0 {
		return
	}
	var list attrs
	for _, p := range Disjoint(mine) {
		first, last := Bounds(p)
		list = list.boundary(first, 0)
		if after := last.Next(); after.IsValid() {
			list = list.boundary(after, unix.NFT_SET_ELEM_INTERVAL_END)
		}
	}
	body := attrs(nil).text(unix.NFTA_SET_ELEM_LIST_TABLE, b.Table).text(unix.NFTA_SET_ELEM_LIST_SET, string(name)).
		bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list)
	b.add(unix.NFT_MSG_NEWSETELEM, f, netlink.Create, body)
}

func (a attrs) boundary(at netip.Addr, flags uint32) attrs {
	return a.nest(unix.NFTA_LIST_ELEM, func(a attrs) attrs {
		if flags != 0 {
			a = a.u32(unix.NFTA_SET_ELEM_FLAGS, flags)
		}
		return a.value(unix.NFTA_SET_ELEM_KEY, string(at.AsSlice()))
	})
}

// Disjoint drops prefixes that others contain.
func Disjoint(all []netip.Prefix) []netip.Prefix {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	var out []netip.Prefix
	for _, p := range all {
		if !slices.ContainsFunc(out, func(wider netip.Prefix) bool { return wider.Overlaps(p) }) {
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
