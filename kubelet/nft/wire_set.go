package nft

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

// AddSet makes a set or map.
func (b *Batch) AddSet(f Family, l Set) {
	b.sets++
	keyType := f.dataType(l.Fields)
	body := attrs(nil).text(unix.NFTA_SET_TABLE, b.Table).text(unix.NFTA_SET_NAME, string(l.Name)).
		u32(unix.NFTA_SET_FLAGS, l.flags()).
		u32(unix.NFTA_SET_KEY_TYPE, keyType.GetNFTMagic()).
		u32(unix.NFTA_SET_KEY_LEN, uint32(f.fieldsLen(l.Fields))).
		u32(unix.NFTA_SET_ID, b.sets)
	if l.Verdict {
		body = body.u32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT).u32(unix.NFTA_SET_DATA_LEN, 0)
	}
	if l.Target {
		endpoint := []Field{DstAddr, DstPort}
		data := f.dataType(endpoint)
		body = body.u32(unix.NFTA_SET_DATA_TYPE, data.GetNFTMagic()).u32(unix.NFTA_SET_DATA_LEN, uint32(f.fieldsLen(endpoint)))
	}
	if desc := f.describe(l); len(desc) > 0 {
		body = body.bytes(unix.NFTA_SET_DESC|unix.NLA_F_NESTED, desc)
	}
	b.add(unix.NFT_MSG_NEWSET, f, netlink.Create, body)
}

// DeleteSet removes a set with its elements. No rule may use it any more.
func (b *Batch) DeleteSet(f Family, name SetName) {
	b.add(unix.NFT_MSG_DELSET, f, 0, attrs(nil).text(unix.NFTA_SET_TABLE, b.Table).text(unix.NFTA_SET_NAME, string(name)))
}

func (l Set) flags() uint32 {
	var flags uint32
	if l.Verdict || l.Target {
		flags |= unix.NFT_SET_MAP
	}
	if l.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if l.Ranged() {
		flags |= setConcat
	}
	if l.Dynamic {
		flags |= unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	}
	return flags
}

// describe is the set's description: its bound, and the lengths of the fields where the kernel must tell them apart.
func (f Family) describe(l Set) attrs {
	var desc attrs
	if l.Dynamic {
		desc = desc.u32(setDescSize, clientsSize)
	}
	if l.Ranged() {
		desc = desc.nest(setDescConcat, func(a attrs) attrs {
			for _, t := range f.dataTypes(l.Fields) {
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

// AddElements adds elements.
func AddElements[V Value](b *Batch, all []Element[V]) {
	elements(b, unix.NFT_MSG_NEWSETELEM, netlink.Create, all)
}

// DeleteElements removes elements, which must be there with these values.
func DeleteElements[V Value](b *Batch, all []Element[V]) {
	elements(b, unix.NFT_MSG_DELSETELEM, 0, all)
}

// elements adds or removes elements, as many to a message as fit.
func elements[V Value](b *Batch, typ int, flags netlink.HeaderFlags, all []Element[V]) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y Element[V]) int {
		return cmp.Or(cmp.Compare(x.ID.Family, y.ID.Family), cmp.Compare(x.ID.Map, y.ID.Map))
	})
	for start := 0; start < len(all); {
		id := all[start].ID
		ranged := b.Ranged != nil && b.Ranged(id.Map)
		list := make(attrs, 0, elementBytes)
		end := start
		for end < len(all) && all[end].ID.Family == id.Family && all[end].ID.Map == id.Map && len(list) < elementBytes-256 {
			list = list.element(all[end].ID.Key, all[end].Value.Data(), ranged)
			end++
		}
		b.list(typ, id.Family, flags, id.Map, list)
		start = end
	}
}

// list is one message about elements, of at most elementBytes.
func (b *Batch) list(typ int, f Family, flags netlink.HeaderFlags, set SetName, elements attrs) {
	b.add(typ, f, flags, attrs(nil).text(unix.NFTA_SET_ELEM_LIST_TABLE, b.Table).text(unix.NFTA_SET_ELEM_LIST_SET, string(set)).
		bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, elements))
}

func (a attrs) element(key string, value Data, ranged bool) attrs {
	return a.nest(unix.NFTA_LIST_ELEM, func(a attrs) attrs {
		if ranged {
			half := len(key) / 2
			a = a.value(unix.NFTA_SET_ELEM_KEY, key[:half]).value(setElemKeyEnd, key[half:])
		} else {
			a = a.value(unix.NFTA_SET_ELEM_KEY, key)
		}
		if value.Target != "" {
			a = a.value(unix.NFTA_SET_ELEM_DATA, value.Target)
		}
		if value.Verdict != 0 {
			a = a.verdict(value)
		}
		return a
	})
}

func (a attrs) value(typ uint16, packed string) attrs {
	return a.nest(typ, func(a attrs) attrs { return a.bytes(unix.NFTA_DATA_VALUE, []byte(packed)) })
}

func (a attrs) verdict(v Data) attrs {
	code := int32(unix.NFT_GOTO)
	switch v.Verdict {
	case Jump:
		code = unix.NFT_JUMP
	case Drop:
		code = 0 // NF_DROP
	}
	return a.nest(unix.NFTA_SET_ELEM_DATA, func(a attrs) attrs {
		return a.nest(unix.NFTA_DATA_VERDICT, func(a attrs) attrs {
			a = a.u32(unix.NFTA_VERDICT_CODE, uint32(code))
			if v.Chain != "" {
				a = a.text(unix.NFTA_VERDICT_CHAIN, v.Chain)
			}
			return a
		})
	})
}
