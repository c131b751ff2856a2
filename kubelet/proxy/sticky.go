package proxy

import (
	"slices"
	"time"

	"skiff/kubelet/nft"
)

// addr is the field under which the endpoints are filed.
func (b Balance) addr() nft.Field {
	if b.Port {
		return nft.AnyAddr
	}
	return nft.DstAddr
}

func (b Balance) numbered(number nft.Field) []nft.Field {
	return []nft.Field{b.addr(), nft.Proto, nft.DstPort, number}
}

func (b Balance) client() []nft.Field {
	return []nft.Field{nft.SrcAddr, b.addr(), nft.Proto, nft.DstPort}
}

func (b Balance) endpoints() nft.SetName {
	if b.Local {
		return LocalEndpoints
	}
	return Endpoints
}

func (b Balance) stickyMaps() (slots, choices nft.SetName) {
	if b.Local {
		return StickySlotsLocal, StickyChoicesLocal
	}
	return StickySlots, StickyChoices
}

// sticky is the rules that send a known client to its slot, if that still has an endpoint, and others to a random one.
func (b Balance) sticky() []nft.Rule {
	slots, choices := b.stickyMaps()
	var out []nft.Rule
	for slot := range b.Slots {
		out = append(out,
			nft.Rule{
				nft.Match{Fields: b.client(), Set: Clients(slot)},
				nft.Branch{Fields: b.numbered(nft.Slot), Map: slots, Number: int(slot)},
			},
			// The client isn't in the set, or the slot is empty: it must not come back here when somebody fills the slot.
			nft.Rule{nft.Forget{Fields: b.client(), Set: Clients(slot)}},
		)
	}
	return append(out, nft.Rule{nft.Branch{Fields: b.numbered(nft.Random), Map: choices, Number: int(b.Count)}})
}

// stay is the rules that remember the client and send it to the slot's endpoint. A full set remembers nobody new, which
// ends the first rule only.
func (b Balance) stay() []nft.Rule {
	return []nft.Rule{
		{nft.Learn{Fields: b.client(), Set: Clients(b.Slots), Timeout: time.Duration(b.Affinity) * time.Second}},
		{nft.Choose{Fields: b.numbered(nft.Slot), Map: b.endpoints(), Number: int(b.Slots)}, nft.Translate{}},
	}
}

// assign gives endpoints slots: those that had one keep it, others fill the gaps, or come last. Empty strings are empty
// slots. before is the assignment so far.
func assign(before, live []string) []string {
	out := make([]string, len(before))
	var fresh []string
	for _, e := range live {
		if at := slices.Index(before, e); at >= 0 {
			out[at] = e
		} else {
			fresh = append(fresh, e)
		}
	}
	for i := range out {
		if out[i] == "" && len(fresh) > 0 {
			out[i], fresh = fresh[0], fresh[1:]
		}
	}
	out = slices.Concat(out, fresh)
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// spread plans the elements that lead from the verdict to the endpoints, and answers how to balance over them.
func (b *builder) spread(verdicts nft.SetName, at frontend, eps []endpoint) Balance {
	local := verdicts == ExternalLocal || verdicts == NodePortsLocal
	balance := Balance{Port: at.node, Local: local, Count: int32(len(eps)), Affinity: b.affinity()}
	targets := make([]string, 0, len(eps))
	for _, e := range eps {
		targets = append(targets, string(nft.Key(nil).Addr(e.addr).Port(e.port)))
	}
	slots, choices := balance.stickyMaps()
	if balance.Affinity > 0 {
		targets = assign(b.before(verdicts, balance.endpoints(), at), targets)
		balance.Slots = int32(len(targets))
	}
	next := 0
	for i, target := range targets {
		if target == "" {
			continue
		}
		b.add(balance.endpoints(), at.full().Index(i), Value{Target: target})
		if balance.Affinity > 0 {
			stay := balance
			stay.Slots, stay.Count = int32(i), 0
			b.add(slots, at.full().Index(i), Value{Verdict: Verdict{Kind: Stay, Balance: stay}})
			b.add(choices, at.full().Index(next), Value{Verdict: Verdict{Kind: Stay, Balance: stay}})
			next++
		}
	}
	return balance
}

// before is the endpoints by slot as they were planned the last time.
func (b *builder) before(verdicts, endpoints nft.SetName, at frontend) []string {
	if b.previous == nil {
		return nil
	}
	value := func(name nft.SetName, k nft.Key) Value {
		return b.previous(ElementID{Family: b.family, Map: name, Key: string(k)})
	}
	var out []string
	for i := range value(verdicts, at.short()).Verdict.Balance.Slots {
		out = append(out, value(endpoints, at.full().Index(int(i))).Target)
	}
	return out
}
