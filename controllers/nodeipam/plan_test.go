package nodeipam

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestFree(t *testing.T) {
	p := netip.MustParsePrefix
	tests := []struct {
		name, cluster string
		bits          int
		used          []netip.Prefix
		want          string
	}{
		{"the first", "10.244.0.0/16", 24, nil, "10.244.0.0/24"},
		{"the lowest gap", "10.244.0.0/16", 24, []netip.Prefix{p("10.244.0.0/24"), p("10.244.2.0/24")}, "10.244.1.0/24"},
		{"behind a larger block", "10.244.0.0/16", 24, []netip.Prefix{p("10.244.0.0/20")}, "10.244.16.0/24"},
		{"around a smaller block", "10.244.0.0/16", 24, []netip.Prefix{p("10.244.0.128/25")}, "10.244.1.0/24"},
		{"others don't matter", "10.244.0.0/16", 24, []netip.Prefix{p("10.0.0.0/24")}, "10.244.0.0/24"},
		{"full", "10.244.0.0/23", 24, []netip.Prefix{p("10.244.0.0/24"), p("10.244.1.0/24")}, ""},
		{"the end of all addresses", "255.255.255.0/24", 24, []netip.Prefix{p("255.255.255.0/24")}, ""},
		{"v6", "fd00::/48", 64, []netip.Prefix{p("fd00::/64")}, "fd00:0:0:1::/64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Free(p(tt.cluster), tt.bits, tt.used)
			if ok != (tt.want != "") || (ok && got != p(tt.want)) {
				t.Errorf("got %s, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

// Blocks given out one after the other never overlap, and all of the range is used.
func TestFreeGivesOutEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := netip.MustParsePrefix("10.0.0.0/20")
		bits := rapid.IntRange(20, 26).Draw(t, "bits")
		var used []netip.Prefix
		for {
			next, ok := Free(cluster, bits, used)
			if !ok {
				break
			}
			for _, u := range used {
				if u.Overlaps(next) {
					t.Fatalf("%s overlaps %s", next, u)
				}
			}
			used = append(used, next)
		}
		if want := 1 << (bits - 20); len(used) != want {
			t.Fatalf("%d blocks, want %d", len(used), want)
		}
	})
}
