package podspec

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// untagged prints a value in an error the way the API does: as JSON of the Go
// field names, with nothing left out.
func untagged(v any) any { return raw{reflect.ValueOf(v)} }

// Diff shows how now differs from old, by Go field names, as errors about
// fields that can't change do.
func Diff(old, now any) string { return diff.Diff(untagged(old), untagged(now)) }

// Untagged prints a value in an error by its Go field names.
func Untagged(v any) any { return untagged(v) }

type raw struct{ v reflect.Value }

// MarshalJSON implements json.Marshaler.
func (r raw) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeUntagged(&b, r.v)
	return b.Bytes(), err
}

func writeUntagged(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	switch v.Interface().(type) {
	case resource.Quantity, metav1.Time, metav1.MicroTime, intstr.IntOrString, []byte:
		return writeJSON(b, v.Interface())
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return writeUntagged(b, v.Elem())
	case reflect.Struct:
		if tagged(v.Type()) {
			return writeJSON(b, v.Interface())
		}
		return writeStruct(b, v)
	case reflect.Slice:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeUntagged(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return writeJSON(b, v.Interface())
}

func writeJSON(b *bytes.Buffer, v any) error {
	out, err := json.Marshal(v)
	b.Write(out)
	return err
}

// tagged reports whether a type prints by its json tags: those that every
// version of an object shares.
func tagged(t reflect.Type) bool { return strings.HasPrefix(t.PkgPath(), "k8s.io/apimachinery/") }

func separate(b *bytes.Buffer, first *bool) {
	if !*first {
		b.WriteByte(',')
	}
	*first = false
}

func writeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	var fields func(v reflect.Value) error
	fields = func(v reflect.Value) error {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Anonymous && f.Type.Kind() == reflect.Struct && !tagged(f.Type) {
				if err := fields(v.Field(i)); err != nil {
					return err
				}
				continue
			}
			if f.Anonymous && f.Type.Kind() == reflect.Struct {
				out, err := json.Marshal(v.Field(i).Interface())
				if err != nil {
					return err
				}
				if inner := bytes.TrimSuffix(bytes.TrimPrefix(out, []byte("{")), []byte("}")); len(inner) > 0 {
					separate(b, &first)
					b.Write(inner)
				}
				continue
			}
			separate(b, &first)
			if err := writeJSON(b, f.Name); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeUntagged(b, v.Field(i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fields(v); err != nil {
		return err
	}
	b.WriteByte('}')
	return nil
}
