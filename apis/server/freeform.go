package server

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// finder reports whether a value holds JSON that no Go type has given a form.
type finder func(reflect.Value) bool

var (
	fieldsType = reflect.TypeFor[metav1.FieldsV1]()
	rawType    = reflect.TypeFor[runtime.RawExtension]()
)

func isSet(v reflect.Value) bool { return !v.IsZero() }

// freeForm answers the finder of a type, nil when its values can hold no such JSON.
func freeForm(t reflect.Type) finder { return freeFormWithin(t, map[reflect.Type]bool{}) }

// freeFormWithin goes down from the types above, in which t has no need to be looked at again.
func freeFormWithin(t reflect.Type, above map[reflect.Type]bool) finder {
	if t == fieldsType || t == rawType || t.Kind() == reflect.Interface {
		return isSet
	}
	if above[t] {
		return isSet // a recursive type
	}
	above[t] = true
	defer delete(above, t)
	switch t.Kind() {
	case reflect.Pointer:
		if find := freeFormWithin(t.Elem(), above); find != nil {
			return func(v reflect.Value) bool { return !v.IsNil() && find(v.Elem()) }
		}
	case reflect.Slice, reflect.Array:
		if find := freeFormWithin(t.Elem(), above); find != nil {
			return func(v reflect.Value) bool { return anyOf(v, find) }
		}
	case reflect.Map:
		if freeFormWithin(t.Elem(), above) != nil {
			return func(v reflect.Value) bool { return v.Len() > 0 }
		}
	case reflect.Struct:
		return freeFormOfFields(t, above)
	}
	return nil
}

func anyOf(v reflect.Value, find finder) bool {
	for i := range v.Len() {
		if find(v.Index(i)) {
			return true
		}
	}
	return false
}

func freeFormOfFields(t reflect.Type, above map[reflect.Type]bool) finder {
	type field struct {
		index int
		find  finder
	}
	var fields []field
	for i := range t.NumField() {
		if find := freeFormWithin(t.Field(i).Type, above); find != nil && t.Field(i).IsExported() {
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
