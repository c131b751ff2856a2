package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// compiler turns rules into the kernel's expressions.
//
// Registers, in words of 32 bits: keys are loaded from firstRegister on, and a chosen target overwrites them. The
// widest key is (client, address, protocol, port): 10 words for IPv6, of the kernel's 16.
type compiler struct {
	family Family
}

// expression is an expression of the kernel's: an expr.Any, or encoded.
type expression any

// encoded is an expression that package expr can't express.
type encoded attrs

// firstRegister is NFT_REG32_00.
const firstRegister = unix.NFT_REG32_00

// opDelete is NFT_DYNSET_OP_DELETE of linux/netfilter/nf_tables.h.
const opDelete = 2

// words is a length in registers.
func (c compiler) words(fields ...Field) uint32 { return uint32(c.family.fieldsLen(fields) / 4) }

func (c compiler) rule(r Rule) []expression {
	var out []expression
	for _, s := range r {
		out = append(out, c.statement(s, r)...)
	}
	return out
}

func (c compiler) statement(s Statement, in Rule) []expression {
	switch s := s.(type) {
	case Match:
		return c.match(s)
	case Is:
		return c.condition(s)
	case From:
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, s.Link)
		return []expression{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: firstRegister}, &expr.Cmp{Op: expr.CmpOpEq, Register: firstRegister, Data: name}}
	case Branch:
		return append(c.load(s.Fields, s.Number), &expr.Lookup{
			SourceRegister: firstRegister, SetName: string(s.Map), IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT,
		})
	case Choose:
		return append(c.load(s.Fields, s.Number), &expr.Lookup{
			SourceRegister: firstRegister, SetName: string(s.Map), IsDestRegSet: true, DestRegister: firstRegister,
		})
	case Learn:
		return c.learn(s)
	case Forget:
		return append(c.load(s.Fields, 0), &expr.Dynset{SrcRegKey: firstRegister, SetName: string(s.Set), Operation: opDelete})
	case Translate:
		return []expression{&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: uint32(c.family.nf()), Specified: true,
			RegAddrMin: firstRegister, RegProtoMin: firstRegister + c.words(DstAddr),
		}}
	case Call:
		return []expression{&expr.Verdict{Kind: expr.VerdictJump, Chain: s.Chain}}
	case End:
		return c.end(s, in)
	default:
		panic(fmt.Sprintf("statement %T has no expression", s))
	}
}

func (c compiler) match(m Match) []expression {
	return append(c.load(m.Fields, 0), &expr.Lookup{SourceRegister: firstRegister, SetName: string(m.Set), Invert: m.Not})
}

func (c compiler) learn(l Learn) []expression {
	return append(c.load(l.Fields, 0), &expr.Dynset{
		SrcRegKey: firstRegister, SetName: string(l.Set), Timeout: l.Timeout, Operation: unix.NFT_DYNSET_OP_UPDATE,
	})
}

func (c compiler) condition(is Is) []expression {
	op := expr.CmpOpEq
	if is.Not {
		op = expr.CmpOpNeq
	}
	reg := uint32(firstRegister)
	word := func(v uint32) []byte { return Key(nil).Index(int(v)) }
	switch is.Cond {
	case SrcLocal:
		return []expression{
			&expr.Fib{Register: reg, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: op, Register: reg, Data: word(unix.RTN_LOCAL)},
		}
	case DstLocal:
		return []expression{
			&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: op, Register: reg, Data: word(unix.RTN_LOCAL)},
		}
	case ToLoopback:
		// The loopback interface has index 1 in every network namespace.
		return []expression{&expr.Meta{Key: expr.MetaKeyOIF, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: word(1)}}
	case Translated:
		return []expression{
			&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: word(ctDstNAT), Xor: word(0)},
			&expr.Cmp{Op: invert(op), Register: reg, Data: word(0)},
		}
	case Known:
		return []expression{
			&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: word(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: word(0)},
			&expr.Cmp{Op: invert(op), Register: reg, Data: word(0)},
		}
	case Neighbour:
		return neighbour(reg, is.Not)
	case ToMany:
		return c.toMany(reg, op)
	case IsTCP:
		return []expression{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: []byte{unix.IPPROTO_TCP}}}
	default:
		panic(fmt.Sprintf("condition %d has no expression", is.Cond))
	}
}

// The first and last ICMPv6 type of neighbour discovery (RFC 4861): solicitations, advertisements, redirects.
const (
	firstDiscovery = 133
	lastDiscovery  = 137
)

// neighbour asks two questions, which can't both be negated: a rule has Neighbour only as it is.
func neighbour(reg uint32, not bool) []expression {
	if not {
		panic("no rule matches everything but neighbour discovery")
	}
	return []expression{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: []byte{firstDiscovery}, ToData: []byte{lastDiscovery}},
	}
}

// toMany leaves to the routing table what is a broadcast address of IPv4: that depends on the host's links. IPv6 has none.
func (c compiler) toMany(reg uint32, op expr.CmpOp) []expression {
	if c.family == IPv6 {
		return []expression{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 1},
			&expr.Cmp{Op: op, Register: reg, Data: []byte{0xff}},
		}
	}
	word := func(v uint32) []byte { return Key(nil).Index(int(v)) }
	return []expression{
		&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Range{Op: op, Register: reg, FromData: word(unix.RTN_BROADCAST), ToData: word(unix.RTN_MULTICAST)},
	}
}

// ctDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ctDstNAT = 1 << 5

func invert(op expr.CmpOp) expr.CmpOp {
	if op == expr.CmpOpEq {
		return expr.CmpOpNeq
	}
	return expr.CmpOpEq
}

func (c compiler) end(e End, in Rule) []expression {
	switch e.Kind {
	case Accept:
		return []expression{&expr.Verdict{Kind: expr.VerdictAccept}}
	case Drop:
		return []expression{&expr.Verdict{Kind: expr.VerdictDrop}}
	case Return:
		return []expression{&expr.Verdict{Kind: expr.VerdictReturn}}
	case Masquerade:
		return []expression{&expr.Masq{FullyRandom: true}}
	case Reject:
		if is, ok := in[0].(Is); ok && is.Cond == IsTCP && !is.Not {
			return []expression{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
		}
		return []expression{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: c.portUnreachable()}}
	default:
		panic(fmt.Sprintf("verdict %d has no expression", e.Kind))
	}
}

// portUnreachable is the ICMP or ICMPv6 code of "port unreachable".
func (c compiler) portUnreachable() uint8 {
	if c.family == IPv6 {
		return 4
	}
	return 3
}
