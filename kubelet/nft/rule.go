package nft

import (
	"fmt"
	"strings"
	"time"
)

// Field is a value of the packet, or of its connection, that rules look up.
type Field uint8

// The fields. Their packed lengths are those of Key's methods.
const (
	SrcAddr  Field = iota + 1
	DstAddr        // the destination at this point of the path
	Proto          // the transport protocol
	DstPort        // the destination port at this point of the path
	AnyAddr        // the unspecified address: node ports file their endpoints under it
	Random         // a random number below the statement's Number
	Slot           // the statement's Number
	OrigAddr       // the destination before translation
	OrigPort       // the destination port before translation
)

// Condition is a yes-or-no question about the packet.
type Condition uint8

// The conditions.
const (
	SrcLocal   Condition = iota + 1 // the source is an address of this host
	DstLocal                        // the destination is an address of this host
	ToLoopback                      // the packet leaves through the loopback interface
	Translated                      // the connection's destination was translated
	IsTCP                           // the protocol is TCP
	Known                           // the packet belongs to a connection that was let through before, or is about one
	Neighbour                       // an ICMPv6 message of neighbour or router discovery
	ToMany                          // the destination is a broadcast or multicast address
)

// Statement is one step of a rule. A rule ends at the first statement that doesn't hold.
type Statement interface{ statement() }

// Match goes on if the fields are (Not: aren't) in the set.
type Match struct {
	Fields []Field
	Set    SetName
	Not    bool
}

// Is goes on if the condition holds (Not: doesn't).
type Is struct {
	Cond Condition
	Not  bool
}

// From goes on if the packet came in by the link.
type From struct{ Link string }

// Branch continues with the verdict that the map has for the fields.
type Branch struct {
	Fields []Field
	Map    SetName
	Number int
}

// Choose remembers the address and port that the map has for the fields.
type Choose struct {
	Fields []Field
	Map    SetName
	Number int
}

// Learn adds the fields to the set, or renews them there, for the time of Timeout.
type Learn struct {
	Fields  []Field
	Set     SetName
	Timeout time.Duration
}

// Forget removes the fields from the set.
type Forget struct {
	Fields []Field
	Set    SetName
}

// Translate sends the connection to the chosen address and port.
type Translate struct{}

// Call continues with a chain and comes back if that decides nothing.
type Call struct{ Chain string }

// End is a decision.
type End struct{ Kind VerdictKind }

func (Match) statement()     {}
func (Is) statement()        {}
func (From) statement()      {}
func (Branch) statement()    {}
func (Choose) statement()    {}
func (Learn) statement()     {}
func (Forget) statement()    {}
func (Translate) statement() {}
func (Call) statement()      {}
func (End) statement()       {}

// VerdictKind says what becomes of a packet.
type VerdictKind uint8

// The verdicts.
const (
	Accept VerdictKind = iota + 1 // take the packet as it is, asking no further chain of this hook
	Drop
	Reject // answer with a TCP reset or an ICMP port unreachable
	Masquerade
	Return // go back to the calling chain
	Goto   // go on in another chain and don't come back
	Jump   // go on in another chain and come back if that decides nothing
)

// Rule is a list of statements.
type Rule []Statement

// String is the same for rules that are the same.
func (r Rule) String() string {
	var out strings.Builder
	for _, s := range r {
		fmt.Fprintf(&out, "%T%v ", s, s)
	}
	return out.String()
}

// Chain is a named list of rules, called from a hook if it has one: Forward filters, the others translate.
type Chain struct {
	Name  string
	Hook  Hook
	Rules []Rule
}

// Hook is the point of a packet's path at which a chain is called.
type Hook uint8

// The hooks.
const (
	NoHook Hook = iota
	Prerouting
	Output
	Postrouting
	Forward
)
