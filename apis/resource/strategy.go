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

// strategy adapts a Definition to the apiserver's create/update/delete hooks. It
// points to the definition, for the compiler makes every method of what is
// embedded again for every kind.
type strategy[T Object] struct {
	def *Definition[T]
	runtime.ObjectTyper
}

func (s *strategy[T]) NamespaceScoped() bool                    { return !s.def.ClusterScoped }
func (s *strategy[T]) AllowCreateOnUpdate(context.Context) bool { return s.def.CreateOnUpdate }
func (s *strategy[T]) AllowUnconditionalUpdate(context.Context) bool {
	return !s.def.NoUnconditionalUpdate
}

func (s *strategy[T]) GenerateName(base string) string {
	return names.SimpleNameGenerator.GenerateName(base)
}

func (s *strategy[T]) Canonicalize(o runtime.Object) {
	if s.def.Canonicalize != nil {
		s.def.Canonicalize(o.(T))
	}
}

func (s *strategy[T]) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.def.Collect == "" {
		return rest.DeleteDependents
	}
	return s.def.Collect
}

func (s *strategy[T]) PrepareForCreate(ctx context.Context, o runtime.Object) {
	obj, none := o.(T), *new(T)
	if s.def.Status != nil && !s.def.KeepStatus {
		reflect.ValueOf(s.def.Status(obj)).Elem().SetZero()
	}
	if s.counts() {
		obj.SetGeneration(1)
	}
	if s.def.Prepare != nil {
		s.def.Prepare(ctx, obj, none)
	}
}

func (s *strategy[T]) PrepareForUpdate(ctx context.Context, o, oldObj runtime.Object) {
	obj, old := o.(T), oldObj.(T)
	if s.def.Status != nil {
		set(s.def.Status(obj), s.def.Status(old))
	}
	if s.def.Prepare != nil {
		s.def.Prepare(ctx, obj, old)
	}
	if s.counts() && s.def.specChanged(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// counts reports whether the kind keeps metadata.generation.
func (s *strategy[T]) counts() bool {
	return !s.def.NoGeneration && (s.def.Spec != nil || s.def.Changed != nil)
}

func (s *strategy[T]) Validate(ctx context.Context, o runtime.Object) field.ErrorList {
	obj := o.(T)
	errs := s.validateMeta(obj)
	if s.def.Validate != nil {
		errs = append(errs, s.def.Validate(ctx, obj, *new(T))...)
	}
	return errs
}

// ValidateUpdate adds to rest.ValidateUpdate, which has checked that metadata
// changed as it may.
func (s *strategy[T]) ValidateUpdate(ctx context.Context, o, oldObj runtime.Object) (errs field.ErrorList) {
	obj, old := o.(T), oldObj.(T)
	if s.def.NameOnce || s.def.Name == nil {
		errs = validateFinalizers(obj)
	} else {
		errs = s.validateMeta(obj)
	}
	if s.def.Validate != nil {
		errs = append(errs, s.def.Validate(ctx, obj, old)...)
	}
	return errs
}

func (s *strategy[T]) validateMeta(obj T) field.ErrorList {
	if s.def.Name == nil {
		return nil
	}
	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(obj, !s.def.ClusterScoped, s.def.Name, path)
	// where the type declares the format of its name, that is said once
	origin := "format=k8s-long-name"
	if len(s.def.Name("a.b", false)) > 0 {
		origin = "format=k8s-short-name"
	}
	for _, err := range errs {
		if err.Field == "metadata.name" && err.Type == field.ErrorTypeInvalid {
			_ = err.WithOrigin(origin).MarkCoveredByDeclarative()
		}
	}
	return append(errs, validateFinalizers(obj)...)
}

func validateFinalizers(obj metav1.Object) (errs field.ErrorList) {
	at := field.NewPath("metadata", "finalizers")
	for i, name := range obj.GetFinalizers() {
		errs = append(errs, validate.StandardFinalizer(name, at.Index(i))...)
	}
	return errs
}

func (s *strategy[T]) WarningsOnCreate(ctx context.Context, o runtime.Object) []string {
	if s.def.Warn == nil {
		return nil
	}
	return s.def.Warn(ctx, o.(T), *new(T))
}

func (s *strategy[T]) WarningsOnUpdate(ctx context.Context, o, old runtime.Object) []string {
	if s.def.Warn == nil {
		return nil
	}
	return s.def.Warn(ctx, o.(T), old.(T))
}

func (s *strategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.def.ResetFields != nil {
		return s.reset(s.def.ResetFields)
	}
	if s.def.Status == nil {
		return nil
	}
	return s.reset([]string{"status"})
}

func (s *strategy[T]) reset(paths []string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, p := range paths {
		var parts []any
		for _, name := range strings.Split(p, ".") {
			parts = append(parts, name)
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	out := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, gv := range s.def.Served() {
		out[fieldpath.APIVersion(gv.String())] = set
	}
	return out
}

func (s *strategy[T]) attrs(o runtime.Object) (labels.Set, fields.Set, error) {
	obj, ok := o.(T)
	if !ok {
		return nil, nil, fmt.Errorf("selecting %s: got %T", s.def.Kind, o)
	}
	meta := metav1.ObjectMeta{Name: obj.GetName(), Namespace: obj.GetNamespace()}
	set := generic.ObjectMetaFieldsSet(&meta, !s.def.ClusterScoped)
	if s.def.Fields != nil {
		set = generic.MergeFieldsSets(set, s.def.Fields(obj))
	}
	return obj.GetLabels(), set, nil
}

// gracefulStrategy is the delete strategy of kinds that end gracefully.
type gracefulStrategy[T Object] struct{ *strategy[T] }

func (s *gracefulStrategy[T]) CheckGracefulDelete(ctx context.Context, o runtime.Object, options *metav1.DeleteOptions) bool {
	return s.def.GracefulDelete(ctx, o.(T), options)
}

// statusStrategy lets an update change metadata and status, nothing else.
type statusStrategy[T Object] struct{ *strategy[T] }

func (s *statusStrategy[T]) PrepareForUpdate(ctx context.Context, o, oldObj runtime.Object) {
	obj, old := o.(T), oldObj.(T)
	if s.def.Spec != nil {
		set(s.def.Spec(obj), s.def.Spec(old))
	}
	if s.def.PrepareStatus != nil {
		s.def.PrepareStatus(ctx, obj, old)
	}
}

func (s *statusStrategy[T]) ValidateUpdate(ctx context.Context, o, oldObj runtime.Object) field.ErrorList {
	if s.def.ValidateStatus == nil {
		return nil
	}
	return s.def.ValidateStatus(ctx, o.(T), oldObj.(T))
}

func (s *statusStrategy[T]) WarningsOnUpdate(ctx context.Context, o, old runtime.Object) []string {
	if s.def.WarnStatus == nil {
		return nil
	}
	return s.def.WarnStatus(ctx, o.(T), old.(T))
}

func (s *statusStrategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.def.StatusResetFields != nil {
		return s.reset(s.def.StatusResetFields)
	}
	return s.reset([]string{"spec"})
}
