package resource

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff/apis/validate"
)

// strategy adapts a Definition to the apiserver's create/update/delete hooks.
type strategy[T Object] struct {
	Definition[T]
	runtime.ObjectTyper
}

func (s strategy[T]) NamespaceScoped() bool                    { return !s.ClusterScoped }
func (s strategy[T]) AllowCreateOnUpdate(context.Context) bool { return s.CreateOnUpdate }
func (s strategy[T]) AllowUnconditionalUpdate(context.Context) bool {
	return !s.NoUnconditionalUpdate
}

func (s strategy[T]) GenerateName(base string) string {
	return names.SimpleNameGenerator.GenerateName(base)
}

func (s strategy[T]) Canonicalize(o runtime.Object) {
	if s.Definition.Canonicalize != nil {
		s.Definition.Canonicalize(o.(T))
	}
}

func (s strategy[T]) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.Collect == "" {
		return rest.DeleteDependents
	}
	return s.Collect
}

func (s strategy[T]) PrepareForCreate(ctx context.Context, o runtime.Object) {
	obj, none := o.(T), *new(T)
	if s.Status != nil && !s.KeepStatus {
		reflect.ValueOf(s.Status(obj)).Elem().SetZero()
	}
	if s.counts() {
		obj.SetGeneration(1)
	}
	if s.Prepare != nil {
		s.Prepare(ctx, obj, none)
	}
}

func (s strategy[T]) PrepareForUpdate(ctx context.Context, o, oldObj runtime.Object) {
	obj, old := o.(T), oldObj.(T)
	if s.Status != nil {
		set(s.Status(obj), s.Status(old))
	}
	if s.Prepare != nil {
		s.Prepare(ctx, obj, old)
	}
	if s.counts() && s.specChanged(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// counts reports whether the kind keeps metadata.generation.
func (s strategy[T]) counts() bool {
	return !s.NoGeneration && (s.Spec != nil || s.Changed != nil)
}

func (s strategy[T]) Validate(ctx context.Context, o runtime.Object) field.ErrorList {
	obj := o.(T)
	errs := s.validateMeta(obj)
	if s.Definition.Validate != nil {
		errs = append(errs, s.Definition.Validate(ctx, obj, *new(T))...)
	}
	return errs
}

// ValidateUpdate leaves metadata alone: rest.ValidateUpdate has checked it.
func (s strategy[T]) ValidateUpdate(ctx context.Context, o, oldObj runtime.Object) (errs field.ErrorList) {
	obj, old := o.(T), oldObj.(T)
	if s.Definition.Validate != nil {
		errs = s.Definition.Validate(ctx, obj, old)
	}
	return errs
}

func (s strategy[T]) validateMeta(obj T) field.ErrorList {
	if s.Name == nil {
		return nil
	}
	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(obj, !s.ClusterScoped, s.Name, path)
	// where the type declares the format of its name, that is said once
	origin := "format=k8s-long-name"
	if len(s.Name("a.b", false)) > 0 {
		origin = "format=k8s-short-name"
	}
	for _, err := range errs {
		if err.Field == "metadata.name" && err.Type == field.ErrorTypeInvalid {
			_ = err.WithOrigin(origin).MarkCoveredByDeclarative()
		}
	}
	for i, name := range obj.GetFinalizers() {
		errs = append(errs, validate.StandardFinalizer(name, path.Child("finalizers").Index(i))...)
	}
	return errs
}

func (s strategy[T]) WarningsOnCreate(ctx context.Context, o runtime.Object) []string {
	if s.Warn == nil {
		return nil
	}
	return s.Warn(ctx, o.(T), *new(T))
}

func (s strategy[T]) WarningsOnUpdate(ctx context.Context, o, old runtime.Object) []string {
	if s.Warn == nil {
		return nil
	}
	return s.Warn(ctx, o.(T), old.(T))
}

func (s strategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.ResetFields != nil {
		return s.reset(s.ResetFields)
	}
	if s.Status == nil {
		return nil
	}
	return s.reset([]string{"status"})
}

func (s strategy[T]) reset(paths []string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, p := range paths {
		var parts []any
		for _, name := range strings.Split(p, ".") {
			parts = append(parts, name)
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	out := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, gv := range s.Served() {
		out[fieldpath.APIVersion(gv.String())] = set
	}
	return out
}

func (s strategy[T]) attrs(o runtime.Object) (labels.Set, fields.Set, error) {
	obj, ok := o.(T)
	if !ok {
		return nil, nil, fmt.Errorf("selecting %s: got %T", s.Kind, o)
	}
	meta := metav1.ObjectMeta{Name: obj.GetName(), Namespace: obj.GetNamespace()}
	set := generic.ObjectMetaFieldsSet(&meta, !s.ClusterScoped)
	if s.Fields != nil {
		set = generic.MergeFieldsSets(set, s.Fields(obj))
	}
	return obj.GetLabels(), set, nil
}

// gracefulStrategy is the delete strategy of kinds that end gracefully.
type gracefulStrategy[T Object] struct{ strategy[T] }

func (s gracefulStrategy[T]) CheckGracefulDelete(ctx context.Context, o runtime.Object, options *metav1.DeleteOptions) bool {
	return s.GracefulDelete(ctx, o.(T), options)
}

// statusStrategy lets an update change metadata and status, nothing else.
type statusStrategy[T Object] struct{ strategy[T] }

func (s statusStrategy[T]) PrepareForUpdate(ctx context.Context, o, oldObj runtime.Object) {
	obj, old := o.(T), oldObj.(T)
	if s.Spec != nil {
		set(s.Spec(obj), s.Spec(old))
	}
	if s.PrepareStatus != nil {
		s.PrepareStatus(ctx, obj, old)
	}
}

func (s statusStrategy[T]) ValidateUpdate(ctx context.Context, o, oldObj runtime.Object) field.ErrorList {
	if s.ValidateStatus == nil {
		return nil
	}
	return s.ValidateStatus(ctx, o.(T), oldObj.(T))
}

func (s statusStrategy[T]) WarningsOnUpdate(ctx context.Context, o, old runtime.Object) []string {
	if s.WarnStatus == nil {
		return nil
	}
	return s.WarnStatus(ctx, o.(T), old.(T))
}

func (s statusStrategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.StatusResetFields != nil {
		return s.reset(s.StatusResetFields)
	}
	return s.reset([]string{"spec"})
}
