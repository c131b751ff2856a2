package resource

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Version is a served form of a resource with its own Go type.
type Version struct {
	GroupVersion schema.GroupVersion
	object, list runtime.Object
	register     func(*runtime.Scheme) error
}

// NewVersion describes a served form V of the hub type T. The two functions
// fill their second argument, which is empty; list is V's empty list, whose
// items and metadata are converted one by one.
func NewVersion[V, T Object](gv schema.GroupVersion, list runtime.Object, toHub func(V, T) error, fromHub func(T, V) error) Version {
	object := reflect.New(reflect.TypeFor[V]().Elem()).Interface().(V)
	return Version{gv, object, list, func(s *runtime.Scheme) error {
		hub := reflect.New(reflect.TypeFor[T]().Elem()).Interface()
		if err := s.AddConversionFunc(object, hub, func(a, b any, _ conversion.Scope) error { return toHub(a.(V), b.(T)) }); err != nil {
			return err
		}
		return s.AddConversionFunc(hub, object, func(a, b any, _ conversion.Scope) error { return fromHub(a.(T), b.(V)) })
	}}
}

// WithDefault adds defaulting of the served form itself.
func WithDefault[V Object](v Version, fill func(V)) Version {
	register := v.register
	v.register = func(s *runtime.Scheme) error {
		addDefaults(s, v.object.(V), v.list, fill)
		return register(s)
	}
	return v
}

// AddToScheme registers the versioned type both under its own version and as
// the hub ("__internal") version, so no conversion is needed unless Versions
// names another Go type. It panics on a definition that contradicts itself.
func (d Definition[T]) AddToScheme(s *runtime.Scheme) {
	gv := d.Resource.GroupVersion()
	s.AddKnownTypes(hubOf(gv), d.Object, d.List)
	served := false
	for _, v := range d.Versions {
		served = served || v.GroupVersion == gv
		s.AddKnownTypes(v.GroupVersion, v.object, v.list)
		utilruntime.Must(v.register(s))
		utilruntime.Must(convertLists(s, v.list, d.List))
		d.addFieldLabels(s, v.GroupVersion)
	}
	if !served {
		s.AddKnownTypes(gv, d.Object, d.List)
	}
	d.addFieldLabels(s, gv)
	addTypes(s, d.Types)
	if d.Default != nil {
		addDefaults(s, d.Object, d.List, d.Default)
	}
	if d.Register != nil {
		utilruntime.Must(d.Register(s))
	}
}

// addFieldLabels tells the scheme which field selectors the kind understands.
func (d Definition[T]) addFieldLabels(s *runtime.Scheme, gv schema.GroupVersion) {
	if d.Fields == nil {
		return
	}
	known := d.Fields(d.Object)
	utilruntime.Must(s.AddFieldLabelConversionFunc(gv.WithKind(d.Kind), func(label, value string) (string, string, error) {
		if to, ok := d.FieldAliases[label]; ok {
			return to, value, nil
		}
		_, ok := known[label]
		if ok || label == "metadata.name" || (label == "metadata.namespace" && !d.ClusterScoped) {
			return label, value, nil
		}
		return "", "", fmt.Errorf("field label not supported: %s", label)
	}))
}

func hubOf(gv schema.GroupVersion) schema.GroupVersion {
	return schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
}

func addTypes(s *runtime.Scheme, types map[schema.GroupVersion][]runtime.Object) {
	for gv, objects := range types {
		s.AddKnownTypes(gv, objects...)
		s.AddKnownTypes(hubOf(gv), objects...)
	}
}

func addDefaults[T runtime.Object](s *runtime.Scheme, object T, list runtime.Object, fill func(T)) {
	s.AddTypeDefaultingFunc(object, func(o any) { fill(o.(T)) })
	s.AddTypeDefaultingFunc(list, func(o any) {
		items := reflect.ValueOf(o).Elem().FieldByName("Items")
		for i := range items.Len() {
			fill(items.Index(i).Addr().Interface().(T))
		}
	})
}

// convertLists lets list types be converted through their items' conversions.
func convertLists(s *runtime.Scheme, a, b runtime.Object) error {
	convert := func(in, out any, scope conversion.Scope) error {
		from, to := reflect.ValueOf(in).Elem(), reflect.ValueOf(out).Elem()
		to.FieldByName("ListMeta").Set(from.FieldByName("ListMeta"))
		src := from.FieldByName("Items")
		dst := reflect.MakeSlice(to.FieldByName("Items").Type(), src.Len(), src.Len())
		for i := range src.Len() {
			if err := scope.Convert(src.Index(i).Addr().Interface(), dst.Index(i).Addr().Interface()); err != nil {
				return fmt.Errorf("converting item %d: %w", i, err)
			}
		}
		to.FieldByName("Items").Set(dst)
		return nil
	}
	if err := s.AddConversionFunc(a, b, convert); err != nil {
		return err
	}
	return s.AddConversionFunc(b, a, convert)
}
