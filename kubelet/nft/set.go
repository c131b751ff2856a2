package nft

import (
	"encoding/binary"
	"net/netip"
)

// SetName names a set or map of a table.
type SetName string

// Set is what the kernel must know about a set or map.
type Set struct {
	Name     SetName
	Fields   []Field // of the key
	Verdict  bool    // maps to a verdict
	Target   bool    // maps to an address and port
	Interval bool    // the (last) key field is a range
	Dynamic  bool    // rules add elements, with a timeout
}

// Ranged reports whether the keys of the set's elements are ranges: the first key and the last one, one behind the other.
// A set of nothing but prefixes is filled by Batch.Prefixes instead.
func (s Set) Ranged() bool { return s.Interval && len(s.Fields) > 1 }

// fieldLen is the length of a field in a key, in bytes.
func (f Family) fieldLen(field Field) int {
	switch field {
	case SrcAddr, DstAddr, AnyAddr, OrigAddr:
		return f.AddrLen()
	default:
		return 4
	}
}

func (f Family) fieldsLen(fields []Field) int {
	n := 0
	for _, field := range fields {
		n += f.fieldLen(field)
	}
	return n
}

// Key packs the fields of a map key as nf_tables lays a concatenation out: each field padded to 32 bits.
type Key []byte

// Addr appends an address.
func (k Key) Addr(a netip.Addr) Key { return append(k, a.Unmap().AsSlice()...) }

// Proto appends a protocol number.
func (k Key) Proto(p uint8) Key { return append(k, p, 0, 0, 0) }

// Port appends a port.
func (k Key) Port(p uint16) Key { return append(binary.BigEndian.AppendUint16(k, p), 0, 0) }

// Index appends a number as numgen leaves it in a register: in the machine's own byte order.
func (k Key) Index(i int) Key { return binary.NativeEndian.AppendUint32(k, uint32(i)) }

// ElementID is the place of an element in the tables.
type ElementID struct {
	Family Family
	Map    SetName
	Key    string // packed; of a ranged set the first and the last key
}

// Value is what a map has for a key. Elements of sets have the zero value.
type Value interface {
	comparable
	Data() Data
}

// Data is a value as the kernel knows it.
type Data struct {
	Target  string      // packed address and port
	Verdict VerdictKind // Drop, Goto or Jump; 0 for none
	Chain   string      // where Goto and Jump lead
}

// Element is one element of a set or map.
type Element[V Value] struct {
	ID    ElementID
	Value V
}
