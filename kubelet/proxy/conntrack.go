package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skiff/kubelet/nft"
)

// A UDP "connection" lives on in conntrack for as long as the client keeps sending, so it would stay with an endpoint
// that is gone, or with no endpoint at all. After a change, flush removes the flows of the changed frontends that don't
// lead where the table would send them now; the client's next packet is then translated anew. TCP needs none of this.
func (p *Proxy) flush(c nft.Changes[Value]) error {
	for _, f := range p.config.families() {
		touched := touchedUDP(f, c)
		if len(touched) == 0 {
			continue
		}
		stale := staleFlows{touched: touched, state: p.state, family: f, nodes: p.config.NodeIPs}
		family := netlink.InetFamily(unix.AF_INET)
		if f == nft.IPv6 {
			family = unix.AF_INET6
		}
		// Flows may end by themselves while they are being deleted.
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, stale); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing conntrack entries of gone UDP endpoints: %w", err)
		}
	}
	return nil
}

// touchedUDP lists the UDP frontends whose elements changed; those on any address of the node have the zero address.
func touchedUDP(f nft.Family, c nft.Changes[Value]) map[netip.AddrPort]bool {
	out := map[netip.AddrPort]bool{}
	for _, e := range slices.Concat(c.Removed, c.Added) {
		if e.ID.Family != f {
			continue
		}
		k := []byte(e.ID.Key)
		addr := f.Zero()
		switch e.ID.Map {
		case Services, ExternalLocal, Endpoints, LocalEndpoints, HostPortAddrs:
			addr, _ = netip.AddrFromSlice(k[:f.AddrLen()])
			k = k[f.AddrLen():]
		case NodePorts, NodePortsLocal, HostPorts:
		default:
			continue
		}
		if k[0] == unix.IPPROTO_UDP {
			out[netip.AddrPortFrom(addr, binary.BigEndian.Uint16(k[4:]))] = true
		}
	}
	return out
}

// staleFlows picks the conntrack entries to remove.
type staleFlows struct {
	touched map[netip.AddrPort]bool
	state   *nft.State[Value]
	family  nft.Family
	nodes   []netip.Addr
}

// MatchConntrackFlow reports whether the flow leads where the table wouldn't send it any more.
func (s staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to := netip.AddrPortFrom(toAddr(flow.Forward.DstIP), flow.Forward.DstPort)
	now := netip.AddrPortFrom(toAddr(flow.Reverse.SrcIP), flow.Reverse.SrcPort)
	anyAddr := netip.AddrPortFrom(s.family.Zero(), to.Port())
	switch {
	case s.touched[to]:
		return !s.valid(to, now)
	case s.touched[anyAddr] && (to != now || slices.Contains(s.nodes, to.Addr())):
		return !s.valid(anyAddr, now)
	default:
		return false
	}
}

// valid reports whether the table may send packets for the frontend to the target.
func (s staleFlows) valid(at, target netip.AddrPort) bool {
	want := string(nft.Key(nil).Addr(target.Addr()).Port(target.Port()))
	front := frontend{addr: at.Addr(), proto: unix.IPPROTO_UDP, port: at.Port(), node: at.Addr().IsUnspecified()}
	for _, name := range []nft.SetName{HostPorts, HostPortAddrs} {
		if s.at(name, front.short()) == want {
			return true
		}
	}
	for _, name := range []nft.SetName{Endpoints, LocalEndpoints} {
		for i := range s.slots(name, front) {
			if s.at(name, front.full().Index(i)) == want {
				return true
			}
		}
	}
	return false
}

// slots is how many endpoints to look at: where clients stay with theirs, some are missing in between.
func (s staleFlows) slots(endpoints nft.SetName, at frontend) int {
	verdicts := map[bool]map[nft.SetName]nft.SetName{
		false: {Endpoints: Services, LocalEndpoints: ExternalLocal},
		true:  {Endpoints: NodePorts, LocalEndpoints: NodePortsLocal},
	}[at.node][endpoints]
	balance := s.state.Value(ElementID{Family: s.family, Map: verdicts, Key: string(at.short())}).Verdict.Balance
	return int(max(balance.Count, balance.Slots))
}

func (s staleFlows) at(name nft.SetName, k nft.Key) string {
	return s.state.Value(ElementID{Family: s.family, Map: name, Key: string(k)}).Target
}

func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
