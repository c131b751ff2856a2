package discovery

import (
	"context"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
)

func slice(kind discoveryv1.AddressType, address string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{AddressType: kind, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}}}
}

func TestAddresses(t *testing.T) {
	for address, c := range map[string]struct {
		kind discoveryv1.AddressType
		want string
	}{
		"10.0.0.1": {"IPv4", ""}, "fd00::1": {"IPv4", "must be an IPv4 address"}, "10.0.0.2": {"IPv6", "must be an IPv6 address"},
		"127.0.0.1": {"IPv4", "loopback range"}, "0.0.0.0": {"IPv4", "may not be unspecified"}, "169.254.1.1": {"IPv4", "link-local range"},
		"10.0.0.01": {"IPv4", "must not have leading 0s"}, "a.example.org": {"FQDN", ""}, "a": {"FQDN", "should be a domain with at least two segments"},
	} {
		got := validateEndpointSlice(context.Background(), slice(c.kind, address), nil).ToAggregate()
		if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", address, got, c.want)
		}
	}
}

func TestGeneration(t *testing.T) {
	old := slice("IPv4", "10.0.0.1")
	prepareEndpointSlice(context.Background(), old, nil)
	same, labelled, moved := old.DeepCopy(), old.DeepCopy(), old.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	moved.Endpoints[0].Addresses[0] = "10.0.0.2"
	for want, s := range map[*discoveryv1.EndpointSlice]int64{same: 1, labelled: 2, moved: 2} {
		prepareEndpointSlice(context.Background(), want, old)
		if want.Generation != s {
			t.Errorf("generation %d, want %d", want.Generation, s)
		}
	}
}

func TestColumns(t *testing.T) {
	s := slice("IPv4", "a")
	s.Endpoints[0].Addresses = []string{"a", "b", "c", "d", "e"}
	if got := addressesOf(s); got != "a,b,c + 2 more..." {
		t.Errorf("got %q", got)
	}
	if got := portsOf(s); got != "<unset>" {
		t.Errorf("got %q", got)
	}
}
