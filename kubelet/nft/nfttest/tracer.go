// Package nfttest walks packets through rules as the kernel would, so that what a table does can be tested without one.
package nfttest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"skiff/kubelet/nft"
)

// Packet is the first packet of a connection, or a later one if Known.
type Packet struct {
	Src, Dst netip.Addr
	Proto    uint8
	Port     uint16
	Known    bool
	Link     string // by which it came in
	ICMPType uint8
}

// Tracer is a host with a table of one family.
type Tracer struct {
	Family   nft.Family
	Chains   map[string]nft.Chain
	Elements map[nft.ElementID]nft.Data
	Prefixes map[nft.SetName][]netip.Prefix
	Ranged   func(nft.SetName) bool
	Learned  map[nft.SetName]map[string]bool
	Local    []netip.Addr // addresses of the host
	Random   func(n int) int
}

// New makes a tracer of a host without rules, where chance is 0.
func New(f nft.Family) *Tracer {
	return &Tracer{
		Family: f, Chains: map[string]nft.Chain{}, Elements: map[nft.ElementID]nft.Data{}, Prefixes: map[nft.SetName][]netip.Prefix{},
		Ranged: func(nft.SetName) bool { return false }, Learned: map[nft.SetName]map[string]bool{}, Random: func(int) int { return 0 },
	}
}

// AddChains makes the chains known.
func (t *Tracer) AddChains(chains ...nft.Chain) {
	for _, c := range chains {
		t.Chains[c.Name] = c
	}
}

// AddElements makes the elements known.
func AddElements[V nft.Value](t *Tracer, elements []nft.Element[V]) {
	for _, e := range elements {
		t.Elements[e.ID] = e.Value.Data()
	}
}

// Walk is a packet's way.
type Walk struct {
	*Tracer
	Packet // as it is by now
	orig   Packet
	target string
}

// Send sets a packet on its way.
func (t *Tracer) Send(p Packet) *Walk { return &Walk{Tracer: t, Packet: p, orig: p} }

// Chain answers a chain's decision, or 0 if it makes none. A translation decides as Accept does.
func (w *Walk) Chain(name string) nft.VerdictKind {
	end := w.chain(name)
	if end == nft.Return || end == nft.Goto {
		return 0
	}
	return end
}

// chain may also answer Goto: the chain left for good what called it.
func (w *Walk) chain(name string) nft.VerdictKind {
	c, ok := w.Chains[name]
	if !ok {
		panic("no chain " + name)
	}
	for _, r := range c.Rules {
		if end := w.rule(r); end != 0 {
			return end
		}
	}
	return 0
}

func (w *Walk) rule(r nft.Rule) nft.VerdictKind {
	for _, s := range r {
		if end, on := w.statement(s); !on {
			return end
		}
	}
	return 0
}

// statement answers a decision, and whether the rule goes on.
func (w *Walk) statement(s nft.Statement) (end nft.VerdictKind, on bool) {
	switch s := s.(type) {
	case nft.Match:
		return 0, w.in(s.Set, w.fields(s.Fields, 0)) != s.Not
	case nft.Is:
		return 0, w.is(s.Cond) != s.Not
	case nft.From:
		return 0, w.Link == s.Link
	case nft.Branch:
		return w.branch(s), false
	case nft.Choose:
		v, ok := w.Elements[nft.ElementID{Family: w.Family, Map: s.Map, Key: w.fields(s.Fields, s.Number)}]
		w.target = v.Target
		return 0, ok
	case nft.Learn:
		if w.Learned[s.Set] == nil {
			w.Learned[s.Set] = map[string]bool{}
		}
		w.Learned[s.Set][w.fields(s.Fields, 0)] = true
	case nft.Forget:
		delete(w.Learned[s.Set], w.fields(s.Fields, 0))
	case nft.Translate:
		size := w.Family.AddrLen()
		w.Dst, _ = netip.AddrFromSlice([]byte(w.target[:size]))
		w.Port = binary.BigEndian.Uint16([]byte(w.target[size:]))
		return nft.Accept, false
	case nft.Call:
		if end := w.Chain(s.Chain); end != 0 {
			return end, false
		}
	case nft.End:
		return s.Kind, false
	}
	return 0, true
}

func (w *Walk) branch(b nft.Branch) nft.VerdictKind {
	v, ok := w.Elements[nft.ElementID{Family: w.Family, Map: b.Map, Key: w.fields(b.Fields, b.Number)}]
	switch {
	case !ok:
		return 0
	case v.Verdict == nft.Jump:
		return w.Chain(v.Chain)
	case v.Verdict == nft.Goto:
		if end := w.Chain(v.Chain); end != 0 {
			return end
		}
		return nft.Goto
	default:
		return v.Verdict
	}
}

func (w *Walk) fields(fields []nft.Field, number int) string {
	k := nft.Key(nil)
	for _, f := range fields {
		switch f {
		case nft.SrcAddr:
			k = k.Addr(w.Src)
		case nft.DstAddr:
			k = k.Addr(w.Dst)
		case nft.Proto:
			k = k.Proto(w.Proto)
		case nft.DstPort:
			k = k.Port(w.Port)
		case nft.AnyAddr:
			k = k.Addr(w.Family.Zero())
		case nft.Random:
			k = k.Index(w.Random(number))
		case nft.Slot:
			k = k.Index(number)
		case nft.OrigAddr:
			k = k.Addr(w.orig.Dst)
		case nft.OrigPort:
			k = k.Port(w.orig.Port)
		}
	}
	return string(k)
}

func (w *Walk) in(set nft.SetName, k string) bool {
	if prefixes, ok := w.Prefixes[set]; ok {
		addr, _ := netip.AddrFromSlice([]byte(k))
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	if w.Ranged(set) {
		return w.inRange(set, k)
	}
	_, ok := w.Elements[nft.ElementID{Family: w.Family, Map: set, Key: k}]
	return ok || w.Learned[set][k]
}

func (w *Walk) inRange(set nft.SetName, k string) bool {
	for id := range w.Elements {
		if id.Family == w.Family && id.Map == set && id.Key[:len(k)] <= k && k <= id.Key[len(k):] {
			return true
		}
	}
	return false
}

func (w *Walk) is(c nft.Condition) bool {
	switch c {
	case nft.SrcLocal:
		return slices.Contains(w.Local, w.Src)
	case nft.DstLocal, nft.ToLoopback:
		return slices.Contains(w.Local, w.Dst)
	case nft.Translated:
		return w.Dst != w.orig.Dst || w.Port != w.orig.Port
	case nft.Known:
		return w.Packet.Known
	case nft.Neighbour:
		return w.Proto == unix.IPPROTO_ICMPV6 && w.ICMPType >= 133 && w.ICMPType <= 137
	case nft.ToMany:
		return w.Dst.IsMulticast() || w.Dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	case nft.IsTCP:
		return w.Proto == unix.IPPROTO_TCP
	default:
		panic("unknown condition")
	}
}
