package validate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// GoNames prints a value in a message the way the API server prints its
// internal types: by the names of the Go fields, with nothing left out. Only
// types of k8s.io/api differ from their JSON.
type GoNames struct{ Value any }

// MarshalJSON implements json.Marshaler.
func (g GoNames) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	if err := writeGo(&out, reflect.ValueOf(g.Value)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writeGo(out *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		out.WriteString("null")
		return nil
	}
	if _, ok := v.Interface().(json.Marshaler); ok {
		return writeJSON(out, v)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			out.WriteString("null")
			return nil
		}
		return writeGo(out, v.Elem())
	case reflect.Struct:
		if !strings.HasPrefix(v.Type().PkgPath(), "k8s.io/api/") {
			return writeJSON(out, v)
		}
		out.WriteByte('{')
		if _, err := writeFields(out, v, false); err != nil {
			return err
		}
		out.WriteByte('}')
		return nil
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return writeJSON(out, v)
		}
		return writeSlice(out, v)
	case reflect.Map:
		if v.IsNil() {
			out.WriteString("null")
			return nil
		}
		return writeMap(out, v)
	default:
		return writeJSON(out, v)
	}
}

// writeFields writes the fields of a struct, those of embedded ones in line;
// it reports whether anything was written after the opening brace.
func writeFields(out *bytes.Buffer, v reflect.Value, written bool) (bool, error) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		if f.Anonymous && strings.HasPrefix(f.Type.PkgPath(), "k8s.io/api/") {
			var err error
			if written, err = writeFields(out, value, written); err != nil {
				return false, err
			}
			continue
		}
		var field bytes.Buffer
		if f.Name == "TypeMeta" {
			continue
		}
		if f.Anonymous { // the metadata has names of its own
			if err := writeJSON(&field, value); err != nil {
				return false, err
			}
			field.Next(1)
			field.Truncate(field.Len() - 1)
		} else {
			fmt.Fprintf(&field, "%q:", f.Name)
			if err := writeGo(&field, value); err != nil {
				return false, err
			}
		}
		if field.Len() == 0 {
			continue
		}
		if written {
			out.WriteByte(',')
		}
		written = true
		out.Write(field.Bytes())
	}
	return written, nil
}

func writeSlice(out *bytes.Buffer, v reflect.Value) error {
	out.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := writeGo(out, v.Index(i)); err != nil {
			return err
		}
	}
	out.WriteByte(']')
	return nil
}

func writeMap(out *bytes.Buffer, v reflect.Value) error {
	values := map[string]reflect.Value{}
	for _, k := range v.MapKeys() {
		values[fmt.Sprint(k.Interface())] = v.MapIndex(k)
	}
	out.WriteByte('{')
	for i, k := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(out, "%q:", k)
		if err := writeGo(out, values[k]); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

func writeJSON(out *bytes.Buffer, v reflect.Value) error {
	b, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Errorf("printing %s: %w", v.Type(), err)
	}
	out.Write(b)
	return nil
}
