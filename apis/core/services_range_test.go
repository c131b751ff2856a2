package core

import (
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAddressRange(t *testing.T) {
	for text, want := range map[string]struct {
		size, static uint64
		first, last  string
		none         []string
	}{
		"10.96.0.0/16":   {65534, 256, "10.96.0.1", "10.96.255.254", []string{"10.96.0.0", "10.96.255.255", "10.97.0.1"}},
		"10.0.0.0/24":    {254, 16, "10.0.0.1", "10.0.0.254", []string{"10.0.0.0", "10.0.0.255"}},
		"10.0.0.16/28":   {14, 0, "10.0.0.17", "10.0.0.30", []string{"10.0.0.16", "10.0.0.31"}},
		"10.0.0.4/30":    {2, 0, "10.0.0.5", "10.0.0.6", []string{"10.0.0.7"}},
		"fd00::/112":     {65535, 256, "fd00::1", "fd00::ffff", []string{"fd00::", "fd00::1:0"}},
		"fd00::/64":      {1<<64 - 1, 256, "fd00::1", "fd00::ffff:ffff:ffff:ffff", []string{"fd00::", "fd00:0:0:1::"}},
		"10.0.0.1/32":    {0, 0, "", "", []string{"10.0.0.1"}},
		"192.168.1.0/31": {0, 0, "", "", []string{"192.168.1.0", "192.168.1.1"}},
	} {
		r := newAddressRange(netip.MustParsePrefix(text))
		if r.size != want.size || r.static != want.static {
			t.Errorf("%s: %d addresses, %d static; want %d, %d", text, r.size, r.static, want.size, want.static)
		}
		for _, ip := range []string{want.first, want.last} {
			if ip != "" && !r.contains(netip.MustParseAddr(ip)) {
				t.Errorf("%s lacks %s", text, ip)
			}
		}
		if want.first != "" && (r.at(0).String() != want.first || r.at(r.size-1).String() != want.last) {
			t.Errorf("%s: from %s to %s", text, r.at(0), r.at(r.size-1))
		}
		for _, ip := range want.none {
			if r.contains(netip.MustParseAddr(ip)) {
				t.Errorf("%s has %s", text, ip)
			}
		}
	}
}

// TestCandidates expects every address once, those of the static band last.
func TestCandidates(t *testing.T) {
	r := newAddressRange(netip.MustParsePrefix("10.0.0.0/25"))
	seen := map[netip.Addr]bool{}
	for ip := range r.candidates() {
		if seen[ip] || !r.contains(ip) {
			t.Fatalf("%s again, or outside", ip)
		}
		static := ip.Less(r.at(r.static))
		if static != (uint64(len(seen)) >= r.size-r.static) {
			t.Fatalf("%s comes as number %d", ip, len(seen))
		}
		seen[ip] = true
	}
	if uint64(len(seen)) != r.size {
		t.Errorf("%d addresses of %d", len(seen), r.size)
	}
	for ip := range newAddressRange(netip.MustParsePrefix("fd00::/64")).candidates() {
		if !ip.Is6() {
			t.Error(ip)
		}
		break
	}
}

func TestReadyRanges(t *testing.T) {
	cidr := func(name string, status metav1.ConditionStatus, deleted bool, ranges ...string) *networkingv1.ServiceCIDR {
		c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: ranges}}
		if status != "" {
			c.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status}}
		}
		if deleted {
			c.DeletionTimestamp = &metav1.Time{}
		}
		return c
	}
	configured := []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	for name, tt := range map[string]struct {
		cidrs []*networkingv1.ServiceCIDR
		want  []string
	}{
		"none yet":           {nil, []string{"10.96.0.0/16"}},
		"before the default": {[]*networkingv1.ServiceCIDR{cidr("a", "", false, "10.1.0.0/24")}, []string{"10.96.0.0/16", "10.1.0.0/24"}},
		"default is first":   {[]*networkingv1.ServiceCIDR{cidr("a", "True", false, "10.1.0.0/24"), cidr("kubernetes", "True", false, "10.96.0.0/16")}, []string{"10.96.0.0/16", "10.1.0.0/24"}},
		"unready":            {[]*networkingv1.ServiceCIDR{cidr("kubernetes", "False", false, "10.96.0.0/16")}, nil},
		"being deleted":      {[]*networkingv1.ServiceCIDR{cidr("kubernetes", "True", true, "10.96.0.0/16"), cidr("b", "", false, "10.96.0.0/16")}, []string{"10.96.0.0/16"}},
		"too wide":           {[]*networkingv1.ServiceCIDR{cidr("kubernetes", "True", false, "fd00::/48", "10.2.0.0/16")}, []string{"10.2.0.0/16"}},
	} {
		got := readyRanges(tt.cidrs, configured)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i].prefix.String() != tt.want[i] {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
	}
}
