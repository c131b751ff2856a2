package resource

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Virtual is a resource whose storages are made by hand.
type Virtual struct {
	Resource schema.GroupVersionResource
	Types    map[schema.GroupVersion][]runtime.Object
	Register func(*runtime.Scheme) error
	Build    func(*runtime.Scheme, generic.RESTOptionsGetter) (map[string]rest.Storage, error)
}

// GVR implements Resource.
func (v Virtual) GVR() schema.GroupVersionResource { return v.Resource }

// Served implements Resource.
func (v Virtual) Served() []schema.GroupVersion {
	return []schema.GroupVersion{v.Resource.GroupVersion()}
}

// AddToScheme implements Resource.
func (v Virtual) AddToScheme(s *runtime.Scheme) {
	addTypes(s, v.Types)
	if v.Register != nil {
		utilruntime.Must(v.Register(s))
	}
}

// Storage implements Resource.
func (v Virtual) Storage(s *runtime.Scheme, opts generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	return v.Build(s, opts)
}

// Review is a resource that can only be created: the answer is computed and
// nothing is stored (SubjectAccessReview, TokenReview, ...).
type Review[T Object] struct {
	Resource      schema.GroupVersionResource
	Kind          string
	Singular      string
	ClusterScoped bool
	Object        T
	Types         map[schema.GroupVersion][]runtime.Object

	Default  func(T)
	Validate func(ctx context.Context, obj T) field.ErrorList
	// Answer computes the answer; it may fill and return obj.
	Answer func(ctx context.Context, obj T) (T, error)
}

// GVR implements Resource.
func (r Review[T]) GVR() schema.GroupVersionResource { return r.Resource }

// Served implements Resource.
func (r Review[T]) Served() []schema.GroupVersion {
	return []schema.GroupVersion{r.Resource.GroupVersion()}
}

// AddToScheme implements Resource.
func (r Review[T]) AddToScheme(s *runtime.Scheme) {
	gv := r.Resource.GroupVersion()
	addTypes(s, map[schema.GroupVersion][]runtime.Object{gv: {r.Object}})
	addTypes(s, r.Types)
	if r.Default != nil {
		s.AddTypeDefaultingFunc(r.Object, func(o any) { r.Default(o.(T)) })
	}
}

// Storage implements Resource.
func (r Review[T]) Storage(*runtime.Scheme, generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	return map[string]rest.Storage{r.Resource.Resource: reviewEndpoint[T]{r}}, nil
}

type reviewEndpoint[T Object] struct{ Review[T] }

var (
	_ rest.Creater              = reviewEndpoint[Object]{}
	_ rest.Scoper               = reviewEndpoint[Object]{}
	_ rest.SingularNameProvider = reviewEndpoint[Object]{}
)

func (e reviewEndpoint[T]) New() runtime.Object     { return e.Object.DeepCopyObject() }
func (e reviewEndpoint[T]) Destroy()                {}
func (e reviewEndpoint[T]) NamespaceScoped() bool   { return !e.ClusterScoped }
func (e reviewEndpoint[T]) GetSingularName() string { return e.Singular }

func (e reviewEndpoint[T]) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	obj, ok := o.(T)
	if !ok {
		return nil, apierrors.NewBadRequest("not a " + e.Kind)
	}
	if e.Validate != nil {
		if errs := e.Validate(ctx, obj); len(errs) > 0 {
			return nil, apierrors.NewInvalid(e.Resource.GroupVersion().WithKind(e.Kind).GroupKind(), obj.GetName(), errs)
		}
	}
	if validate != nil {
		if err := validate(ctx, o.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return e.Answer(ctx, obj)
}
