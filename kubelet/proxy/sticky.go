package proxy

import (
	"slices"
	"time"
)

// addr is the field under which the endpoints are filed.
func (b Balance) addr() Field {
	if b.Port {
		return AnyAddr
	}
	return DstAddr
}

func (b Balance) numbered(number Field) []Field { return []Field{b.addr(), Proto, DstPort, number} }

func (b Balance) client() []Field { return []Field{SrcAddr, b.addr(), Proto, DstPort} }

func (b Balance) endpoints() MapName {
	if b.Local {
		return LocalEndpoints
	}
	return Endpoints
}

func (b Balance) stickyMaps() (slots, choices MapName) {
	if b.Local {
		return StickySlotsLocal, StickyChoicesLocal
	}
	return StickySlots, StickyChoices
}

// sticky is the rules that send a known client to its slot, if that still has an endpoint, and others to a random one.
func (b Balance) sticky() []Rule {
	slots, choices := b.stickyMaps()
	var out []Rule
	for slot := range b.Slots {
		out = append(out,
			Rule{
				Match{Fields: b.client(), Set: Clients(slot)},
				Branch{Fields: b.numbered(Slot), Map: slots, Number: int(slot)},
			},
			// The client isn't in the set, or the slot is empty: it must not come back here when somebody fills the slot.
			Rule{Forget{Fields: b.client(), Set: Clients(slot)}},
		)
	}
	return append(out, Rule{Branch{Fields: b.numbered(Random), Map: choices, Number: int(b.Count)}})
}

// stay is the rules that remember the client and send it to the slot's endpoint. A full set remembers nobody new, which
// ends the first rule only.
func (b Balance) stay() []Rule {
	return []Rule{
		{Learn{Fields: b.client(), Set: Clients(b.Slots), Timeout: time.Duration(b.Affinity) * time.Second}},
		{Choose{Fields: b.numbered(Slot), Map: b.endpoints(), Number: int(b.Slots)}, Translate{}},
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
func (b *builder) spread(verdicts MapName, at frontend, eps []endpoint) Balance {
	local := verdicts == ExternalLocal || verdicts == NodePortsLocal
	balance := Balance{Port: at.node, Local: local, Count: int32(len(eps)), Affinity: b.affinity()}
	targets := make([]string, 0, len(eps))
	for _, e := range eps {
		targets = append(targets, string(key(nil).addr(e.addr).port(e.port)))
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
		b.add(balance.endpoints(), at.full().index(i), Value{Target: target})
		if balance.Affinity > 0 {
			stay := balance
			stay.Slots, stay.Count = int32(i), 0
			b.add(slots, at.full().index(i), Value{Verdict: Verdict{Kind: Stay, Balance: stay}})
			b.add(choices, at.full().index(next), Value{Verdict: Verdict{Kind: Stay, Balance: stay}})
			next++
		}
	}
	return balance
}

// before is the endpoints by slot as they were planned the last time.
func (b *builder) before(verdicts, endpoints MapName, at frontend) []string {
	if b.previous == nil {
		return nil
	}
	value := func(name MapName, k key) Value {
		return b.previous(ElementID{Family: b.family, Map: name, Key: string(k)})
	}
	var out []string
	for i := range value(verdicts, at.short()).Verdict.Balance.Slots {
		out = append(out, value(endpoints, at.full().index(int(i))).Target)
	}
	return out
}
