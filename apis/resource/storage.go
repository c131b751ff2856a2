package resource

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Storage builds the main endpoint, /status where there is one, and the
// declared subresources.
func (d Definition[T]) Storage(s *runtime.Scheme, opts generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	name := d.Resource.Resource
	st := &strategy[T]{def: &d, ObjectTyper: s}
	main, err := d.store(st, opts)
	if err != nil {
		return nil, fmt.Errorf("storage for %s: %w", name, err)
	}
	var endpoint rest.Storage = &Endpoint{main, d.ShortNames, d.Categories}
	if d.Main != nil {
		endpoint = d.Main(endpoint.(*Endpoint))
	}
	out := map[string]rest.Storage{name: endpoint}
	if d.Status != nil {
		sub := *main
		status := &statusStrategy[T]{st}
		sub.UpdateStrategy, sub.ResetFieldsStrategy = status, status
		out[name+"/status"] = NewUpdateEndpoint(&sub)
	}
	for path, build := range d.Subresources {
		out[name+"/"+path] = build(main)
	}
	return out, nil
}

func (d Definition[T]) store(st *strategy[T], opts generic.RESTOptionsGetter) (*registry.Store, error) {
	main := &registry.Store{
		NewFunc:                   d.Object.DeepCopyObject,
		NewListFunc:               d.List.DeepCopyObject,
		DefaultQualifiedResource:  d.Resource.GroupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: d.Resource.Group, Resource: d.Singular},
		TableConvertor:            NewTable(d),
		CreateStrategy:            st,
		UpdateStrategy:            st,
		DeleteStrategy:            st,
		ResetFieldsStrategy:       st,
		ReturnDeletedObject:       d.ReturnDeleted,
	}
	if d.GracefulDelete != nil {
		main.DeleteStrategy = &gracefulStrategy[T]{st}
	}
	main.PredicateFunc = func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
		return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: st.attrs, IndexFields: d.Indexed}
	}
	if d.Store != nil {
		if err := d.Store(main); err != nil {
			return nil, err
		}
	}
	options := &generic.StoreOptions{RESTOptions: opts, AttrFunc: st.attrs}
	d.index(options)
	if err := main.CompleteWithOptions(options); err != nil {
		return nil, err
	}
	return main, nil
}

// index has the watch cache hand watchers and listers of an indexed field only
// the objects that match it.
func (d Definition[T]) index(options *generic.StoreOptions) {
	if len(d.Indexed) == 0 {
		return
	}
	options.TriggerFunc = storage.IndexerFuncs{}
	indexers := cache.Indexers{}
	for _, name := range d.Indexed {
		value := func(o runtime.Object) string { return d.Fields(o.(T))[name] }
		options.TriggerFunc[name] = value
		indexers[storage.FieldIndex(name)] = func(o any) ([]string, error) {
			obj, ok := o.(T)
			if !ok {
				return nil, fmt.Errorf("indexing %s: got %T", d.Kind, o)
			}
			return []string{value(obj)}, nil
		}
	}
	options.Indexers = &indexers
}

// Endpoint is the main endpoint: the store with its discovery hints.
type Endpoint struct {
	*registry.Store
	shortNames, categories []string
}

// ShortNames implements rest.ShortNamesProvider.
func (e *Endpoint) ShortNames() []string { return slices.Clone(e.shortNames) }

// Categories implements rest.CategoriesProvider.
func (e *Endpoint) Categories() []string { return slices.Clone(e.categories) }

// UpdateEndpoint exposes only get, update and patch of a store: what /status
// and its like serve.
type UpdateEndpoint struct{ store *registry.Store }

var (
	_ rest.Patcher             = UpdateEndpoint{}
	_ rest.ResetFieldsStrategy = UpdateEndpoint{}
)

// NewUpdateEndpoint serves get, update and patch of store, which is usually a
// copy of the main store with another UpdateStrategy.
func NewUpdateEndpoint(store *registry.Store) UpdateEndpoint { return UpdateEndpoint{store} }

// New implements rest.Storage.
func (e UpdateEndpoint) New() runtime.Object { return e.store.New() }

// Destroy implements rest.Storage; the store belongs to the main endpoint.
func (e UpdateEndpoint) Destroy() {}

// Get implements rest.Getter.
func (e UpdateEndpoint) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return e.store.Get(ctx, name, o)
}

// Update implements rest.Updater; a subresource never creates.
func (e UpdateEndpoint) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, cv rest.ValidateObjectFunc, uv rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return e.store.Update(ctx, name, info, cv, uv, false, o)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (e UpdateEndpoint) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return e.store.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (e UpdateEndpoint) ConvertToTable(ctx context.Context, obj, opts runtime.Object) (*metav1.Table, error) {
	return e.store.ConvertToTable(ctx, obj, opts)
}
