package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The batch is encoded here rather than by nftables.Conn: that one asks the kernel to echo each rule and loses count of
// the answers when a batch has many rules, and it takes a dozen allocations for a map element.

// attrs is a list of netlink attributes being written, integers in network order.
type attrs []byte

func (a attrs) bytes(typ uint16, data []byte) attrs {
	a = binary.NativeEndian.AppendUint16(a, uint16(4+len(data)))
	a = binary.NativeEndian.AppendUint16(a, typ)
	a = append(a, data...)
	return a.pad()
}

func (a attrs) text(typ uint16, s string) attrs {
	a = binary.NativeEndian.AppendUint16(a, uint16(4+len(s)+1))
	a = binary.NativeEndian.AppendUint16(a, typ)
	a = append(append(a, s...), 0)
	return a.pad()
}

func (a attrs) u32(typ uint16, v uint32) attrs {
	return a.bytes(typ, binary.BigEndian.AppendUint32(nil, v))
}

// nest writes an attribute whose content fill writes.
func (a attrs) nest(typ uint16, fill func(attrs) attrs) attrs {
	start := len(a)
	a = fill(append(a, 0, 0, 0, 0))
	binary.NativeEndian.PutUint16(a[start:], uint16(len(a)-start))
	binary.NativeEndian.PutUint16(a[start+2:], typ|unix.NLA_F_NESTED)
	return a.pad()
}

func (a attrs) pad() attrs {
	for len(a)%4 != 0 {
		a = append(a, 0)
	}
	return a
}

// Batch is one nf_tables transaction on an owner's tables being written. Order matters: what is named must be there.
type Batch struct {
	// Table is the tables' name.
	Table string
	// Ranged tells the ranged sets (Set.Ranged); nil if there are none.
	Ranged   func(SetName) bool
	sets     uint32
	messages []netlink.Message
	err      error
}

// header is a struct nfgenmsg.
func header(family uint8, resource uint16) attrs {
	return binary.BigEndian.AppendUint16(attrs{family, unix.NFNETLINK_V0}, resource)
}

func (b *Batch) add(typ int, f Family, flags netlink.HeaderFlags, body attrs) {
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: nfType(typ), Flags: netlink.Request | flags},
		Data:   append(header(f.nf(), 0), body...),
	})
}

func nfType(typ int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ)
}

// ResetTable makes the family's table anew, empty.
func (b *Batch) ResetTable(f Family) {
	name := attrs(nil).text(unix.NFTA_TABLE_NAME, b.Table)
	b.add(unix.NFT_MSG_NEWTABLE, f, netlink.Create, name) // deleting needs one to be there
	b.add(unix.NFT_MSG_DELTABLE, f, 0, name)
	b.add(unix.NFT_MSG_NEWTABLE, f, netlink.Create, name)
}

func (b *Batch) deleteTable(f Family) {
	b.add(unix.NFT_MSG_DELTABLE, f, 0, attrs(nil).text(unix.NFTA_TABLE_NAME, b.Table))
}

// attach is where a hook's chains are called: the kernel's hook number, the priority (dstnat, srcnat, filter) and the type.
func (h Hook) attach() (hook uint32, priority int32, kind string) {
	switch h {
	case Prerouting:
		return unix.NF_INET_PRE_ROUTING, -100, "nat"
	case Output:
		return unix.NF_INET_LOCAL_OUT, -100, "nat"
	case Forward:
		return unix.NF_INET_FORWARD, 0, "filter"
	default:
		return unix.NF_INET_POST_ROUTING, 100, "nat"
	}
}

// AddChain makes a chain without its rules, so that chains may lead to one another.
func (b *Batch) AddChain(f Family, c Chain) {
	body := attrs(nil).text(unix.NFTA_CHAIN_TABLE, b.Table).text(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook != NoHook {
		hook, priority, kind := c.Hook.attach()
		body = body.nest(unix.NFTA_CHAIN_HOOK, func(a attrs) attrs {
			return a.u32(unix.NFTA_HOOK_HOOKNUM, hook).u32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
		}).text(unix.NFTA_CHAIN_TYPE, kind)
	}
	b.add(unix.NFT_MSG_NEWCHAIN, f, netlink.Create, body)
}

// DeleteChain removes a chain with its rules. Nothing may lead to it any more.
func (b *Batch) DeleteChain(f Family, name string) {
	b.add(unix.NFT_MSG_DELCHAIN, f, 0, attrs(nil).text(unix.NFTA_CHAIN_TABLE, b.Table).text(unix.NFTA_CHAIN_NAME, name))
}

// AddRules appends the chain's rules to it.
func (b *Batch) AddRules(f Family, c Chain) {
	for _, r := range c.Rules {
		body := attrs(nil).text(unix.NFTA_RULE_TABLE, b.Table).text(unix.NFTA_RULE_CHAIN, c.Name)
		body = body.nest(unix.NFTA_RULE_EXPRESSIONS, func(a attrs) attrs {
			for _, e := range (compiler{family: f}).rule(r) {
				a = a.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, b.expression(f, e))
			}
			return a
		})
		b.add(unix.NFT_MSG_NEWRULE, f, netlink.Create|netlink.Append, body)
	}
}

func (b *Batch) expression(f Family, e expression) []byte {
	if ready, ok := e.(encoded); ok {
		return ready
	}
	known, ok := e.(expr.Any)
	if !ok {
		b.err = fmt.Errorf("%T is no expression", e)
		return nil
	}
	data, err := expr.Marshal(f.nf(), known)
	if err != nil {
		b.err = err
	}
	return data
}
