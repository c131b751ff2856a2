package proxy

import (
	"cmp"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// clientsSize bounds how many clients are remembered for a slot.
	clientsSize = 1 << 18
	// elementBytes is how much of a message elements may fill: a netlink attribute holds 64 KiB.
	elementBytes = 48 << 10
	// nft's marks of set features that golang.org/x/sys lacks (linux/netfilter/nf_tables.h).
	setConcat      = nftables.NFT_SET_CONCAT
	setDescConcat  = nftables.NFTA_SET_DESC_CONCAT
	setElemKeyEnd  = nftables.NFTA_SET_ELEM_KEY_END
	setDescSize    = unix.NFTA_SET_DESC_SIZE
	setFieldLength = 1 // NFTA_SET_FIELD_LEN
)

// set declares a set or map.
func (b *batch) set(f Family, table string, id uint32, l layout) {
	keyType := f.dataType(l.fields)
	body := attrs(nil).text(unix.NFTA_SET_TABLE, table).text(unix.NFTA_SET_NAME, l.name.String()).
		u32(unix.NFTA_SET_FLAGS, l.flags()).
		u32(unix.NFTA_SET_KEY_TYPE, keyType.GetNFTMagic()).
		u32(unix.NFTA_SET_KEY_LEN, uint32(f.fieldsLen(l.fields))).
		u32(unix.NFTA_SET_ID, id)
	if l.verdict {
		body = body.u32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT).u32(unix.NFTA_SET_DATA_LEN, 0)
	}
	if l.target {
		endpoint := []Field{DstAddr, DstPort}
		data := f.dataType(endpoint)
		body = body.u32(unix.NFTA_SET_DATA_TYPE, data.GetNFTMagic()).u32(unix.NFTA_SET_DATA_LEN, uint32(f.fieldsLen(endpoint)))
	}
	if desc := f.describe(l); len(desc) > 0 {
		body = body.bytes(unix.NFTA_SET_DESC|unix.NLA_F_NESTED, desc)
	}
	b.add(unix.NFT_MSG_NEWSET, f, netlink.Create, body)
}

func (l layout) flags() uint32 {
	var flags uint32
	if l.verdict || l.target {
		flags |= unix.NFT_SET_MAP
	}
	if l.prefix {
		flags |= unix.NFT_SET_INTERVAL
	}
	if l.prefix && len(l.fields) > 1 {
		flags |= setConcat
	}
	if l.dynamic {
		flags |= unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	}
	return flags
}

// describe is the set's description: its bound, and the lengths of the fields where the kernel must tell them apart.
func (f Family) describe(l layout) attrs {
	var desc attrs
	if l.dynamic {
		desc = desc.u32(setDescSize, clientsSize)
	}
	if l.prefix && len(l.fields) > 1 {
		desc = desc.nest(setDescConcat, func(a attrs) attrs {
			for _, t := range f.dataTypes(l.fields) {
				a = a.nest(unix.NFTA_LIST_ELEM, func(a attrs) attrs { return a.u32(setFieldLength, t.Bytes) })
			}
			return a
		})
	}
	return desc
}

// dataTypes names the fields' types, so that "nft list" prints them.
func (f Family) dataTypes(fields []Field) []nftables.SetDatatype {
	addr := nftables.TypeIPAddr
	if f == IPv6 {
		addr = nftables.TypeIP6Addr
	}
	var out []nftables.SetDatatype
	for _, field := range fields {
		switch field {
		case Proto:
			out = append(out, nftables.TypeInetProto)
		case DstPort, OrigPort:
			out = append(out, nftables.TypeInetService)
		case Random, Slot:
			out = append(out, nftables.TypeMark)
		default:
			out = append(out, addr)
		}
	}
	return out
}

func (f Family) dataType(fields []Field) nftables.SetDatatype {
	types := f.dataTypes(fields)
	if len(types) == 1 {
		return types[0]
	}
	concat, err := nftables.ConcatSetType(types...)
	if err != nil {
		return nftables.TypeInvalid
	}
	return concat
}

// elements adds or removes elements, as many to a message as fit.
func (b *batch) elements(typ int, table string, all []Element) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y Element) int {
		return cmp.Or(cmp.Compare(x.ID.Family, y.ID.Family), cmp.Compare(x.ID.Map, y.ID.Map))
	})
	for start := 0; start < len(all); {
		id := all[start].ID
		list := make(attrs, 0, elementBytes)
		end := start
		for end < len(all) && all[end].ID.Family == id.Family && all[end].ID.Map == id.Map && len(list) < elementBytes-256 {
			list = list.element(all[end])
			end++
		}
		body := attrs(nil).text(unix.NFTA_SET_ELEM_LIST_TABLE, table).text(unix.NFTA_SET_ELEM_LIST_SET, id.Map.String()).
			bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list)
		b.add(typ, id.Family, createElements(typ), body)
		start = end
	}
}

func createElements(typ int) netlink.HeaderFlags {
	if typ == unix.NFT_MSG_NEWSETELEM {
		return netlink.Create
	}
	return 0
}

func (a attrs) element(e Element) attrs {
	return a.nest(unix.NFTA_LIST_ELEM, func(a attrs) attrs {
		if e.ID.Map == GuardAllowed {
			half := len(e.ID.Key) / 2
			a = a.value(unix.NFTA_SET_ELEM_KEY, e.ID.Key[:half]).value(setElemKeyEnd, e.ID.Key[half:])
		} else {
			a = a.value(unix.NFTA_SET_ELEM_KEY, e.ID.Key)
		}
		if e.Value.Target != "" {
			a = a.value(unix.NFTA_SET_ELEM_DATA, e.Value.Target)
		}
		if e.Value.Verdict.Kind != 0 {
			a = a.verdict(e.Value.Verdict)
		}
		return a
	})
}

func (a attrs) value(typ uint16, packed string) attrs {
	return a.nest(typ, func(a attrs) attrs { return a.bytes(unix.NFTA_DATA_VALUE, []byte(packed)) })
}

func (a attrs) verdict(v Verdict) attrs {
	code, chain := int32(unix.NFT_GOTO), v.chainName()
	if v.Kind == Drop {
		code = 0 // NF_DROP
	}
	return a.nest(unix.NFTA_SET_ELEM_DATA, func(a attrs) attrs {
		return a.nest(unix.NFTA_DATA_VERDICT, func(a attrs) attrs {
			a = a.u32(unix.NFTA_VERDICT_CODE, uint32(code))
			if chain != "" {
				a = a.text(unix.NFTA_VERDICT_CHAIN, chain)
			}
			return a
		})
	})
}
