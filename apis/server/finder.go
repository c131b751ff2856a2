package server

import (
	"encoding/json"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// finder reports whether a value of its type holds what is looked for.
type finder func(reflect.Value) bool

// search makes finders.
type search struct {
	// leaf answers the finder of a type that is not looked into, nil for others.
	leaf func(reflect.Type) finder
	// again is the finder of a type within itself.
	again finder
	// empty looks for slices and maps that have no elements and are not nil.
	empty bool
}

func (s search) of(t reflect.Type) finder { return s.within(t, map[reflect.Type]bool{}) }

func isJSON(t reflect.Type) bool {
	return t == reflect.TypeFor[metav1.FieldsV1]() || t == reflect.TypeFor[runtime.RawExtension]()
}

// freeForm answers the finder of JSON that no Go type has given a form, nil when
// values of the type can hold none.
func freeForm(t reflect.Type) finder {
	return search{again: isSet, leaf: func(t reflect.Type) finder {
		if isJSON(t) || t.Kind() == reflect.Interface {
			return isSet
		}
		return nil
	}}.of(t)
}

// malformed answers the finder of JSON that is none, nil when values of the type
// can hold none.
func malformed(t reflect.Type) finder {
	return search{leaf: func(t reflect.Type) finder {
		if !isJSON(t) {
			return nil
		}
		return func(v reflect.Value) bool {
			raw := v.FieldByName("Raw").Bytes()
			return len(raw) > 0 && !json.Valid(raw)
		}
	}}.of(t)
}

// emptiness answers the finder of slices and maps that are empty and not nil,
// which protobuf does not tell from nil; the finder is nil when values of the
// type can hold none.
func emptiness(t reflect.Type) finder {
	return search{again: isSet, empty: true, leaf: func(t reflect.Type) finder {
		if t.Kind() == reflect.Interface {
			return isSet
		}
		return nil
	}}.of(t)
}

func isSet(v reflect.Value) bool { return !v.IsZero() }

// within goes down from the types above, in which t has no need to be looked at again.
func (s search) within(t reflect.Type, above map[reflect.Type]bool) finder {
	if find := s.leaf(t); find != nil {
		return find
	}
	if above[t] {
		return s.again
	}
	above[t] = true
	defer delete(above, t)
	switch t.Kind() {
	case reflect.Pointer:
		if find := s.within(t.Elem(), above); find != nil {
			return func(v reflect.Value) bool { return !v.IsNil() && find(v.Elem()) }
		}
	case reflect.Slice:
		return s.inElements(s.within(t.Elem(), above), anyElement)
	case reflect.Map:
		return s.inElements(s.within(t.Elem(), above), anyValue)
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

func anyElement(v reflect.Value, find finder) bool {
	for i := range v.Len() {
		if find(v.Index(i)) {
			return true
		}
	}
	return false
}

func anyValue(v reflect.Value, find finder) bool {
	for values := v.MapRange(); values.Next(); {
		if find(values.Value()) {
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
