package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestDisjoint: an address is in one of the prefixes exactly if it is in one of those given, and then in one only.
func TestDisjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.SliceOfN(rapid.Custom(drawPrefix), 0, 12).Draw(t, "prefixes")
		got := Disjoint(given)
		for range 20 {
			a := drawPrefix(t).Addr()
			has := func(p netip.Prefix) bool { return p.Contains(a) }
			among := 0
			for _, p := range got {
				if has(p) {
					among++
				}
			}
			if want := slices.ContainsFunc(given, has); (among == 1) != want || among > 1 {
				t.Fatalf("%s is in %d of %v, given %v", a, among, got, given)
			}
		}
	})
}

// drawPrefix draws from few addresses of either family, some with bits beyond the prefix.
func drawPrefix(t *rapid.T) netip.Prefix {
	last := rapid.IntRange(0, 15).Draw(t, "last")
	if rapid.Bool().Draw(t, "IPv6") {
		return netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd00::%x", last)), rapid.IntRange(122, 128).Draw(t, "bits"))
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}), rapid.IntRange(26, 32).Draw(t, "bits"))
}

// TestManyPrefixes: more than a netlink attribute holds come in several messages, each whole, and none is lost.
func TestManyPrefixes(t *testing.T) {
	var all []netip.Prefix
	for i := range 5000 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32))
	}
	b := Batch{Table: "t"}
	b.Prefixes(IPv4, "s", all)
	boundaries := 0
	for _, m := range b.messages {
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			t.Fatal(err)
		}
		for ad.Next() {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			list := ad.Bytes()
			for len(list) > 0 {
				size := int(binary.NativeEndian.Uint16(list))
				if size < 4 || size > len(list) {
					t.Fatalf("an element of %d bytes where %d are left", size, len(list))
				}
				list = list[size:]
				boundaries++
			}
		}
		if err := ad.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if boundaries != 2*len(all) {
		t.Errorf("%d boundaries of %d prefixes in %d messages", boundaries, len(all), len(b.messages))
	}
}
