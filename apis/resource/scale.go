package resource

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ScaleTypes are the types a definition with a /scale lists in Types.
func ScaleTypes() map[schema.GroupVersion][]runtime.Object {
	return map[schema.GroupVersion][]runtime.Object{autoscalingv1.SchemeGroupVersion: {&autoscalingv1.Scale{}}}
}

// Scale says where a kind keeps its replicas.
type Scale[T Object] struct {
	// Paths maps each served version ("apps/v1") to the replicas' path, for managedFields.
	Paths map[string]fieldpath.Path
	// Replicas points to the wanted number; it is not nil after defaulting.
	Replicas func(T) *int32
	// Status is the number that exists and the selector of the pods, as text.
	Status func(T) (replicas int32, selector string)
}

// Endpoint builds the /scale subresource (autoscaling/v1 Scale); it fits
// Definition.Subresources.
func (s Scale[T]) Endpoint(store *registry.Store) rest.Storage { return scaleEndpoint[T]{s, store} }

type scaleEndpoint[T Object] struct {
	Scale[T]
	store *registry.Store
}

var (
	_ rest.Patcher                  = scaleEndpoint[Object]{}
	_ rest.GroupVersionKindProvider = scaleEndpoint[Object]{}
)

func (e scaleEndpoint[T]) New() runtime.Object { return &autoscalingv1.Scale{} }
func (e scaleEndpoint[T]) Destroy()            {}

// GroupVersionKind tells discovery that the body is a Scale, not the parent.
func (e scaleEndpoint[T]) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

func (e scaleEndpoint[T]) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	obj, err := e.store.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return e.scaleOf(obj.(T)), nil
}

func (e scaleEndpoint[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, cv rest.ValidateObjectFunc, uv rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	parent := &scaledParent[T]{e: e, name: name, info: info}
	obj, _, err := e.store.Update(ctx, name, parent, e.toScale(cv), e.toScaleUpdate(uv), false, o)
	if err != nil {
		return nil, false, err
	}
	return e.scaleOf(obj.(T)), false, nil
}

func (e scaleEndpoint[T]) ConvertToTable(ctx context.Context, obj, opts runtime.Object) (*metav1.Table, error) {
	return NewTable(Definition[*autoscalingv1.Scale]{Columns: scaleColumns()}).ConvertToTable(ctx, obj, opts)
}

func scaleColumns() []Column[*autoscalingv1.Scale] {
	name := NameColumn[*autoscalingv1.Scale]()
	name.Format = "" // as the API server has it
	return []Column[*autoscalingv1.Scale]{
		name,
		{Name: "Desired", Type: "integer", Help: autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"], Value: func(s *autoscalingv1.Scale) any { return int64(s.Spec.Replicas) }},
		{Name: "Available", Type: "integer", Help: autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"], Value: func(s *autoscalingv1.Scale) any { return int64(s.Status.Replicas) }},
	}
}

func (e scaleEndpoint[T]) scaleOf(obj T) *autoscalingv1.Scale {
	out := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{
		Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
		ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
	}}
	if n := e.Replicas(obj); n != nil {
		out.Spec.Replicas = *n
	}
	out.Status.Replicas, out.Status.Selector = e.Status(obj)
	return out
}

// toScale lets admission see the Scale, not the parent, when creating.
func (e scaleEndpoint[T]) toScale(f rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error { return f(ctx, e.scaleOf(obj.(T))) }
}

func (e scaleEndpoint[T]) toScaleUpdate(f rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		return f(ctx, e.scaleOf(obj.(T)), e.scaleOf(old.(T)))
	}
}

// scaledParent applies an update of the Scale to the stored parent.
type scaledParent[T Object] struct {
	e    scaleEndpoint[T]
	name string
	info rest.UpdatedObjectInfo
}

// Preconditions implements rest.UpdatedObjectInfo.
func (p *scaledParent[T]) Preconditions() *metav1.Preconditions { return p.info.Preconditions() }

// UpdatedObject implements rest.UpdatedObjectInfo.
func (p *scaledParent[T]) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject().(T)
	entries := managedfields.ResourcePathMappings{}
	for v, path := range p.e.Paths {
		entries[v] = path
	}
	gv := autoscalingv1.SchemeGroupVersion
	if info, ok := genericrequest.RequestInfoFrom(ctx); ok {
		gv = schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	}
	handler := managedfields.NewScaleHandler(obj.GetManagedFields(), gv, entries)
	owned, err := handler.ToSubresource()
	if err != nil {
		return nil, fmt.Errorf("reading field owners: %w", err)
	}
	oldScale := p.e.scaleOf(obj)
	oldScale.ManagedFields = owned
	updated, err := p.info.UpdatedObject(ctx, oldScale)
	if err != nil {
		return nil, err
	}
	scale, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %v", updated))
	}
	if errs := ValidateScale(scale); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), p.name, errs)
	}
	// a resourceVersion in the request is a precondition on the parent
	if scale.ResourceVersion != "" {
		obj.SetResourceVersion(scale.ResourceVersion)
	}
	*p.e.Replicas(obj) = scale.Spec.Replicas
	back, err := handler.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, fmt.Errorf("writing field owners: %w", err)
	}
	obj.SetManagedFields(back)
	return obj, nil
}

// ValidateScale checks a Scale as the API does on every /scale.
func ValidateScale(s *autoscalingv1.Scale) field.ErrorList {
	errs := validation.ValidateObjectMeta(&s.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if s.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), s.Spec.Replicas, "must be greater than or equal to 0").WithOrigin("minimum"))
	}
	return errs
}
