package core

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff/apis/resource"
)

// namespaceEndpoint deletes a namespace in two steps: the first delete makes it
// Terminating, and it goes when spec.finalizers and metadata.finalizers are
// empty. Namespaces can't be deleted as a collection, so the store's methods
// are passed on one by one.
type namespaceEndpoint struct{ store *resource.Endpoint }

var (
	_ rest.CreaterUpdater = namespaceEndpoint{}
	_ rest.Lister         = namespaceEndpoint{}
	_ rest.Watcher        = namespaceEndpoint{}
)

func (e namespaceEndpoint) New() runtime.Object                    { return e.store.New() }
func (e namespaceEndpoint) NewList() runtime.Object                { return e.store.NewList() }
func (e namespaceEndpoint) Destroy()                               { e.store.Destroy() }
func (e namespaceEndpoint) NamespaceScoped() bool                  { return false }
func (e namespaceEndpoint) GetSingularName() string                { return e.store.GetSingularName() }
func (e namespaceEndpoint) ShortNames() []string                   { return e.store.ShortNames() }
func (e namespaceEndpoint) StorageVersion() runtime.GroupVersioner { return e.store.StorageVersion() }

func (e namespaceEndpoint) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return e.store.GetResetFields()
}

func (e namespaceEndpoint) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return e.store.Get(ctx, name, o)
}

func (e namespaceEndpoint) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	return e.store.List(ctx, o)
}

func (e namespaceEndpoint) Watch(ctx context.Context, o *metainternalversion.ListOptions) (watch.Interface, error) {
	return e.store.Watch(ctx, o)
}

func (e namespaceEndpoint) Create(ctx context.Context, obj runtime.Object, cv rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	return e.store.Create(ctx, obj, cv, o)
}

func (e namespaceEndpoint) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, cv rest.ValidateObjectFunc, uv rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return e.store.Update(ctx, name, info, cv, uv, force, o)
}

func (e namespaceEndpoint) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return e.store.ConvertToTable(ctx, obj, o)
}

// Delete implements rest.GracefulDeleter.
func (e namespaceEndpoint) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := e.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if o == nil {
		o = metav1.NewDeleteOptions(0)
	}
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	if o.Preconditions.UID == nil {
		o.Preconditions.UID = &ns.UID
	} else if *o.Preconditions.UID != ns.UID {
		return nil, false, apierrors.NewConflict(corev1.Resource("namespaces"), name, errors.New("the UID in the precondition does not match the UID in record"))
	}
	if o.Preconditions.ResourceVersion != nil && *o.Preconditions.ResourceVersion != ns.ResourceVersion {
		return nil, false, apierrors.NewConflict(corev1.Resource("namespaces"), name, errors.New("the ResourceVersion in the precondition does not match the ResourceVersion in record; the object might have been modified"))
	}
	if ns.DeletionTimestamp.IsZero() {
		terminating, err := e.terminate(ctx, name, validate, o)
		return terminating, false, err
	}
	if len(ns.Spec.Finalizers) != 0 {
		return ns, false, nil
	}
	return e.store.Delete(ctx, name, validate, o)
}

// terminate begins the deletion.
func (e namespaceEndpoint) terminate(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, error) {
	key, err := e.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	pre := storage.Preconditions{UID: o.Preconditions.UID, ResourceVersion: o.Preconditions.ResourceVersion}
	out := e.store.NewFunc()
	err = e.store.Storage.GuaranteedUpdate(ctx, key, out, false, &pre, storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
		if err := validate(ctx, existing); err != nil {
			return nil, err
		}
		ns := existing.(*corev1.Namespace)
		if ns.DeletionTimestamp.IsZero() {
			ns.DeletionTimestamp = ptr.To(metav1.NewTime(time.Now()))
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		ns.Finalizers = deleteFinalizers(ns.Finalizers, o)
		return ns, nil
	}), dryrun.IsDryRun(o.DryRun), nil)
	if err != nil {
		err = storeerr.InterpretGetError(err, corev1.Resource("namespaces"), name)
		err = storeerr.InterpretUpdateError(err, corev1.Resource("namespaces"), name)
		if _, ok := err.(*apierrors.StatusError); !ok { //nolint:errorlint // the store answers status errors unwrapped
			err = apierrors.NewInternalError(err)
		}
		return nil, err
	}
	return out, nil
}

// deleteFinalizers says with a finalizer what shall become of dependents; for
// a namespace only orphaning and foreground deletion leave a mark.
func deleteFinalizers(have []string, o *metav1.DeleteOptions) []string {
	var out []string
	for _, f := range have {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			out = append(out, f)
		}
	}
	switch {
	case o.OrphanDependents != nil && *o.OrphanDependents:
		return append(out, metav1.FinalizerOrphanDependents)
	case o.PropagationPolicy != nil && *o.PropagationPolicy == metav1.DeletePropagationOrphan:
		return append(out, metav1.FinalizerOrphanDependents)
	case o.PropagationPolicy != nil && *o.PropagationPolicy == metav1.DeletePropagationForeground:
		return append(out, metav1.FinalizerDeleteDependents)
	case o.OrphanDependents != nil || o.PropagationPolicy != nil:
		return out
	}
	return have
}

// finalizeEndpoint updates spec.finalizers and nothing else.
type finalizeEndpoint struct{ store *registry.Store }

var (
	_ rest.Updater             = finalizeEndpoint{}
	_ rest.ResetFieldsStrategy = finalizeEndpoint{}
)

func newFinalizeEndpoint(main *registry.Store) rest.Storage {
	store := *main
	s := finalizeStrategy{resource.NewPart(main.UpdateStrategy)}
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	return finalizeEndpoint{&store}
}

func (e finalizeEndpoint) New() runtime.Object { return e.store.New() }
func (e finalizeEndpoint) Destroy()            {}

func (e finalizeEndpoint) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, cv rest.ValidateObjectFunc, uv rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return e.store.Update(ctx, name, info, cv, uv, false, o)
}

func (e finalizeEndpoint) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return e.store.GetResetFields()
}
