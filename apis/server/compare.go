package server

import (
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/value"

	"skiff/apis/same"
)

// whole is a Go object that leaves out of a comparison with another one of its
// type the parts that are identical in both: most writes change the spec or the
// status, and a walk through the other one finds nothing. A quantity in another
// form is identical, also within a list that is compared as a whole.
type whole struct {
	value.Value
	object reflect.Value // the struct
	parts  []part
}

// part is a field of an object that is a struct, as spec and status are.
type part struct {
	index int
	name  string // in JSON
	empty finder // may be nil
}

func partsOf(t reflect.Type) (out []part) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct && name != "" && name != "metadata" {
			out = append(out, part{i, name, emptiness(f.Type)})
		}
	}
	return out
}

// AsMap implements value.Value.
func (w whole) AsMap() value.Map { return w.AsMapUsing(value.HeapAllocator) }

// AsMapUsing implements value.Value.
func (w whole) AsMapUsing(a value.Allocator) value.Map { return wholeMap{w.Value.AsMapUsing(a), w} }

// wholeMap is the object as a map. It knows itself among maps of other making.
type wholeMap struct {
	value.Map
	whole whole
}

func plain(m value.Map) value.Map {
	if w, ok := m.(wholeMap); ok {
		return w.Map
	}
	return m
}

// Equals implements value.Map.
func (m wholeMap) Equals(other value.Map) bool { return m.Map.Equals(plain(other)) }

// EqualsUsing implements value.Map.
func (m wholeMap) EqualsUsing(a value.Allocator, other value.Map) bool {
	return m.Map.EqualsUsing(a, plain(other))
}

// Zip implements value.Map.
func (m wholeMap) Zip(other value.Map, order value.MapTraverseOrder, fn func(key string, lhs, rhs value.Value) bool) bool {
	return m.ZipUsing(value.HeapAllocator, other, order, fn)
}

// ZipUsing implements value.Map. Two objects of one type are zipped only to be
// compared; a merge is with what a user sent, which is no Go object.
func (m wholeMap) ZipUsing(a value.Allocator, other value.Map, order value.MapTraverseOrder, fn func(key string, lhs, rhs value.Value) bool) bool {
	o, ok := other.(wholeMap)
	if !ok || o.whole.object.Type() != m.whole.object.Type() {
		return m.Map.ZipUsing(a, plain(other), order, fn)
	}
	same := m.whole.identical(o.whole)
	return m.Map.ZipUsing(a, o.Map, order, func(key string, lhs, rhs value.Value) bool {
		return slices.Contains(same, key) || fn(key, lhs, rhs)
	})
}

// identical names the parts that are identical.
func (w whole) identical(o whole) (names []string) {
	for _, p := range w.parts {
		a, b := w.object.Field(p.index), o.object.Field(p.index)
		if same.Bytes(a.Addr().Interface(), b.Addr().Interface()) && (p.empty == nil || !p.empty(a) && !p.empty(b)) {
			names = append(names, p.name)
		}
	}
	return names
}
