package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// load puts the fields into consecutive registers, from the first one on.
func (c compiler) load(fields []Field, number int) []expression {
	var out []expression
	reg := uint32(firstRegister)
	for _, f := range fields {
		out = append(out, c.field(f, reg, number))
		reg += c.words(f)
	}
	return out
}

func (c compiler) field(f Field, reg uint32, number int) expression {
	switch f {
	case SrcAddr:
		return c.address(reg, 12, 8)
	case DstAddr:
		return c.address(reg, 16, 24)
	case AnyAddr:
		return &expr.Immediate{Register: reg, Data: make([]byte, c.family.AddrLen())}
	case Proto:
		return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}
	case DstPort:
		return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	case Random:
		return &expr.Numgen{Register: reg, Type: unix.NFT_NG_RANDOM, Modulus: uint32(number)}
	case Slot:
		return &expr.Immediate{Register: reg, Data: Key(nil).Index(number)}
	case OrigAddr:
		return c.origAddr(reg)
	case OrigPort:
		return &expr.Ct{Key: expr.CtKeyPROTODST, Register: reg, Direction: 0}
	default:
		panic(fmt.Sprintf("field %d has no expression", f))
	}
}

// address reads an address of the IP header at the offset that it has in each family.
func (c compiler) address(reg, offset4, offset6 uint32) expression {
	offset := offset4
	if c.family == IPv6 {
		offset = offset6
	}
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(c.family.AddrLen())}
}

// origAddr reads conntrack's original destination address. Package expr has only the key that is deprecated, at which
// the nft tool stumbles when it lists the rule.
func (c compiler) origAddr(reg uint32) expression {
	key := uint32(unix.NFT_CT_DST_IP)
	if c.family == IPv6 {
		key = unix.NFT_CT_DST_IP6
	}
	out := attrs(nil).text(unix.NFTA_EXPR_NAME, "ct").nest(unix.NFTA_EXPR_DATA, func(a attrs) attrs {
		return a.u32(unix.NFTA_CT_KEY, key).u32(unix.NFTA_CT_DREG, reg).bytes(unix.NFTA_CT_DIRECTION, []byte{0})
	})
	return encoded(out)
}
