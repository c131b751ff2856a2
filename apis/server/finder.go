package server

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// finder reports whether a value of its type holds what is looked for.
type finder func(reflect.Value) bool

// search makes finders.
type search struct {
	// leaf says of a type that its values are looked for unless they are zero.
	leaf func(reflect.Type) bool
	// empty looks for slices and maps that have no elements and are not nil.
	empty bool
}

// freeForm answers the finder of JSON that no Go type has given a form, nil when
// values of the type can hold none.
func freeForm(t reflect.Type) finder {
	s := search{leaf: func(t reflect.Type) bool {
		return t == reflect.TypeFor[metav1.FieldsV1]() || t == reflect.TypeFor[runtime.RawExtension]() || t.Kind() == reflect.Interface
	}}
	return s.within(t, map[reflect.Type]bool{})
}

// emptiness answers the finder of slices and maps that are empty and not nil,
// which protobuf does not tell from nil; the finder is nil when values of the
// type can hold none.
func emptiness(t reflect.Type) finder {
	s := search{leaf: func(t reflect.Type) bool { return t.Kind() == reflect.Interface }, empty: true}
	return s.within(t, map[reflect.Type]bool{})
}

func isSet(v reflect.Value) bool { return !v.IsZero() }

// within goes down from the types above, in which t has no need to be looked at again.
func (s search) within(t reflect.Type, above map[reflect.Type]bool) finder {
	if s.leaf(t) || above[t] { // of a recursive type, anything is found
		return isSet
	}
	above[t] = true
	defer delete(above, t)
	switch t.Kind() {
	case reflect.Pointer:
		if find := s.within(t.Elem(), above); find != nil {
			return func(v reflect.Value) bool { return !v.IsNil() && find(v.Elem()) }
		}
	case reflect.Slice:
		return s.inElements(s.within(t.Elem(), above), anyOf)
	case reflect.Map: // to look into a map takes longer than it saves
		return s.inElements(s.within(t.Elem(), above), func(reflect.Value, finder) bool { return true })
	case reflect.Struct:
		return s.inFields(t, above)
	}
	return nil
}

// inElements is the finder of a slice or map whose elements have the finder find, if any.
func (s search) inElements(find finder, look func(reflect.Value, finder) bool) finder {
	if find == nil && !s.empty {
		return nil
	}
	return func(v reflect.Value) bool {
		if v.Len() == 0 {
			return s.empty && !v.IsNil()
		}
		return find != nil && look(v, find)
	}
}

func anyOf(v reflect.Value, find finder) bool {
	for i := range v.Len() {
		if find(v.Index(i)) {
			return true
		}
	}
	return false
}

func (s search) inFields(t reflect.Type, above map[reflect.Type]bool) finder {
	type field struct {
		index int
		find  finder
	}
	var fields []field
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			continue
		}
		if find := s.within(t.Field(i).Type, above); find != nil {
			fields = append(fields, field{i, find})
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return func(v reflect.Value) bool {
		for _, f := range fields {
			if f.find(v.Field(f.index)) {
				return true
			}
		}
		return false
	}
}
