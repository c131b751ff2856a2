package core

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"

	declared "skiff/apis/declarative/core/v1"
)

// register adds the group's declared validation, and lets the scheme read the
// options of connecting subresources from a query.
func register(s *runtime.Scheme) error {
	if err := declared.RegisterValidations(s); err != nil {
		return err
	}
	for _, o := range optionTypes() {
		err := s.AddConversionFunc((*url.Values)(nil), o, func(a, b any, _ conversion.Scope) error {
			return fromQuery(*a.(*url.Values), b)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fromQuery fills a struct of options from a query by the names in its json tags.
func fromQuery(values url.Values, out any) error {
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		list, ok := values[name]
		if name == "" || !ok || len(list) == 0 {
			continue
		}
		if err := setOption(v.Field(i), list); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

func setOption(f reflect.Value, list []string) error {
	if f.Kind() == reflect.Pointer {
		if list[0] == "" && f.Type() != reflect.TypeFor[*string]() {
			return nil
		}
		p := reflect.New(f.Type().Elem())
		if err := setOption(p.Elem(), list); err != nil {
			return err
		}
		f.Set(p)
		return nil
	}
	switch dst := f.Addr().Interface().(type) {
	case *[]string:
		*dst = list
		return nil
	case *metav1.Time:
		return dst.UnmarshalQueryParameter(list[0])
	case *[]int32:
		return setPorts(dst, list)
	}
	return setScalar(f, list[0])
}

func setPorts(dst *[]int32, list []string) error {
	for _, s := range list {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return err
		}
		*dst = append(*dst, int32(n))
	}
	return nil
}

func setScalar(f reflect.Value, s string) error {
	switch f.Kind() {
	case reflect.String:
		f.SetString(s)
	case reflect.Bool:
		// "?follow" and "?follow=" mean yes; only 0 and false mean no
		f.SetBool(s != "0" && !strings.EqualFold(s, "false"))
	case reflect.Int64, reflect.Int32:
		n, err := strconv.ParseInt(s, 10, f.Type().Bits())
		if err != nil {
			return err
		}
		f.SetInt(n)
	default:
		return fmt.Errorf("cannot be set to %q", s)
	}
	return nil
}
