package proxy

import (
	"fmt"

	"skiff/kubelet/nft"
)

// VerdictKind says what becomes of a packet for a Service.
type VerdictKind uint8

// The verdicts.
const (
	Drop   VerdictKind = iota + 1
	Reject             // answer with a TCP reset or an ICMP port unreachable
	Spread             // balance over endpoints, as Verdict.Balance says
	Stay               // send to the endpoint in the slot Verdict.Balance.Slots and remember the client there
)

// Verdict is the value of a verdict map.
type Verdict struct {
	Kind    VerdictKind
	Balance Balance
}

// Balance describes a chain that spreads connections over Count endpoints. Services alike in it share the chain.
//
// With affinity each endpoint keeps a slot for as long as it lives. A slot has a set of the clients that stay with it,
// shared by all Services; a client that is in none is sent to a random slot, and added to its set.
type Balance struct {
	Port     bool  // the endpoints are filed under (any address, protocol, port), as those of node ports are
	Local    bool  // use the endpoints on this node only
	Count    int32 // how many endpoints
	Slots    int32 // how many slots, some of which may be empty; in a verdict Stay: which slot
	Affinity int32 // seconds that a client stays with its endpoint; 0: chosen anew for each connection
}

// chainName is unique for each verdict that leads to a chain; empty for the others.
func (v Verdict) chainName() string {
	b := v.Balance
	by, scope := "ip", "all"
	if b.Port {
		by = "port"
	}
	if b.Local {
		scope = "local"
	}
	switch {
	case v.Kind == Reject:
		return "reject"
	case v.Kind == Stay:
		return fmt.Sprintf("slot-%s-%s-%d-for-%d", by, scope, b.Slots, b.Affinity)
	case v.Kind == Spread && b.Affinity > 0:
		return fmt.Sprintf("sticky-%s-%s-%d-of-%d", by, scope, b.Count, b.Slots)
	case v.Kind == Spread:
		return fmt.Sprintf("lb-%s-%s-%d", by, scope, b.Count)
	default:
		return ""
	}
}

// chain is the rules that the verdict leads to; false if it leads to none, or to one that is always there.
func (v Verdict) chain() (nft.Chain, bool) {
	out := nft.Chain{Name: v.chainName()}
	switch {
	case v.Kind == Stay:
		out.Rules = v.Balance.stay()
	case v.Kind == Spread && v.Balance.Affinity > 0:
		out.Rules = v.Balance.sticky()
	case v.Kind == Spread:
		out.Rules = []nft.Rule{{nft.Choose{Fields: v.Balance.numbered(nft.Random), Map: v.Balance.endpoints(), Number: int(v.Balance.Count)}, nft.Translate{}}}
	default:
		return nft.Chain{}, false
	}
	return out, true
}

// slots is how many sets of clients the verdict's chain uses.
func (v Verdict) slots() int32 {
	switch {
	case v.Balance.Affinity == 0:
		return 0
	case v.Kind == Stay:
		return v.Balance.Slots + 1
	default:
		return v.Balance.Slots
	}
}
