package server

import (
	"fmt"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"skiff/internal/stack"
)

// types answers the converter that field management compares the groups' objects with.
func (b builtIn) types(openapi *common.OpenAPIV3Config, groups []*apiGroup) (managedfields.TypeConverter, error) {
	var names []string
	for _, g := range groups {
		for version, byName := range g.storage {
			for _, s := range byName {
				kind, err := genericapi.GetResourceKind(schema.GroupVersion{Group: g.name, Version: version}, s, b.scheme)
				if err != nil {
					return nil, fmt.Errorf("finding the kind of a storage: %w", err)
				}
				sample, err := b.scheme.New(kind)
				if err != nil {
					return nil, fmt.Errorf("making a %s: %w", kind.Kind, err)
				}
				names = append(names, util.GetCanonicalTypeName(sample))
			}
		}
	}
	schemas, err := builder3.BuildOpenAPIDefinitionsForResources(openapi, names...)
	if err != nil {
		return nil, fmt.Errorf("building the schemas: %w", err)
	}
	c, err := managedfields.NewTypeConverter(schemas, false)
	if err != nil {
		return nil, fmt.Errorf("building the types: %w", err)
	}
	return &typeConverter{TypeConverter: c}, nil
}

// typeConverter takes it that a Go object fits the schema made from its type:
// the walk that would find out is a tenth of what a write costs. JSON of no
// type, and what a user applies, is checked.
type typeConverter struct {
	managedfields.TypeConverter
	known sync.Map // of knownType by GroupVersionKind
}

// knownType is the schema of a type, and what finds in its objects that they may not fit.
type knownType struct {
	schema   *smdschema.Schema
	ref      smdschema.TypeRef
	freeForm finder
	parts    []part
}

// ObjectToTyped implements managedfields.TypeConverter.
func (c *typeConverter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if _, ok := obj.(*unstructured.Unstructured); ok || len(opts) != 1 || opts[0] != typed.AllowDuplicates {
		return c.TypeConverter.ObjectToTyped(obj, opts...) //nolint:wrapcheck // nothing to add
	}
	stack.Reserve() // the first of ours that is called on the goroutine of a write
	obj = withoutManagers(obj)
	kind := obj.GetObjectKind().GroupVersionKind()
	if known, ok := c.known.Load(kind); ok {
		k := known.(knownType)
		if k.freeForm != nil && k.freeForm(reflect.ValueOf(obj)) {
			return c.TypeConverter.ObjectToTyped(obj, opts...) //nolint:wrapcheck // nothing to add
		}
		v, err := value.NewValueReflect(obj)
		if err != nil {
			return nil, fmt.Errorf("reading a %s: %w", kind.Kind, err)
		}
		return typed.AsTypedUnvalidated(whole{v, reflect.ValueOf(obj).Elem(), k.parts}, k.schema, k.ref), nil
	}
	first, err := c.TypeConverter.ObjectToTyped(obj, opts...)
	if err == nil {
		c.known.Store(kind, knownType{first.Schema(), first.TypeRef(), freeForm(reflect.TypeOf(obj)), partsOf(reflect.TypeOf(obj).Elem())})
	}
	return first, err //nolint:wrapcheck // nothing to add
}

// withoutManagers is obj without its managed fields, in which no comparison is
// interested: reading them is a good part of what a comparison costs. The object
// itself may be the watch cache's.
func withoutManagers(obj runtime.Object) runtime.Object {
	if m, ok := obj.(metav1.Object); ok && len(m.GetManagedFields()) > 0 {
		obj = shallow(obj)
		obj.(metav1.Object).SetManagedFields(nil) //nolint:forcetypeassert // of the same type
	}
	return obj
}
