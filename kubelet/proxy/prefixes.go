package proxy

import (
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// prefixes fills a set of address ranges: the kernel wants each as its first address and the one after its last.
func (b *batch) prefixes(f Family, table string, name MapName, all []netip.Prefix) {
	var mine []netip.Prefix
	for _, p := range all {
		if familyOf(p) == f {
			mine = append(mine, p)
		}
	}
	if len(mine) == 0 {
		return
	}
	var list attrs
	for _, p := range disjoint(mine) {
		first, last := bounds(p)
		list = list.boundary(first, 0)
		if after := last.Next(); after.IsValid() {
			list = list.boundary(after, unix.NFT_SET_ELEM_INTERVAL_END)
		}
	}
	body := attrs(nil).text(unix.NFTA_SET_ELEM_LIST_TABLE, table).text(unix.NFTA_SET_ELEM_LIST_SET, name.String()).
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
