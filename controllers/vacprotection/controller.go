// Package vacprotection keeps VolumeAttributesClasses that claims or volumes have: their finalizer goes only when none
// does.
package vacprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
)

// index finds claims and volumes by the names of their classes.
const index = "skiff.controllers/attributes-class"

type reconciler struct {
	env             controller.Env
	classes         listers.VolumeAttributesClassLister
	claims, volumes cache.Indexer
}

// New declares the controller; its keys are classes.
func New(env controller.Env) (controller.Spec, error) {
	core, classes := env.Informers.Core().V1(), env.Informers.Storage().V1().VolumeAttributesClasses()
	claims, volumes := core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer()
	for _, informer := range []cache.SharedIndexInformer{claims, volumes} {
		err := informer.AddIndexers(cache.Indexers{index: func(o any) ([]string, error) { return Names(o), nil }})
		if err != nil {
			return controller.Spec{}, fmt.Errorf("indexing by class: %w", err)
		}
	}
	r := &reconciler{env: env, classes: classes.Lister(), claims: claims.GetIndexer(), volumes: volumes.GetIndexer()}
	return controller.Spec{
		Name: "vacprotection", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: classes.Informer(), Keys: unsettled},
			{Informer: claims, Keys: freed},
			{Informer: volumes, Keys: freed},
		},
	}, nil
}

func unsettled(_, after metav1.Object) []controller.Key {
	if class, ok := after.(*storagev1.VolumeAttributesClass); ok && Finalizers(class, false) != nil {
		return []controller.Key{controller.KeyOf(class)}
	}
	return nil
}

// freed names the classes that the object had and has no more.
func freed(before, after metav1.Object) []controller.Key {
	has := Names(after)
	var keys []controller.Key
	for _, name := range Names(before) {
		if !slices.Contains(has, name) {
			keys = append(keys, controller.Key{Name: name})
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	class, err := r.classes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading class: %w", err)
	}
	used, err := r.used(class.Name)
	if err != nil {
		return controller.Result{}, err
	}
	wanted := Finalizers(class, used)
	if wanted == nil {
		return controller.Result{}, nil
	}
	class = class.DeepCopy()
	class.Finalizers = wanted
	_, err = r.env.Client.StorageV1().VolumeAttributesClasses().Update(ctx, class, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("updating finalizers of the class: %w", err)
	}
	return controller.Result{}, nil
}

func (r *reconciler) used(class string) (bool, error) {
	for _, objects := range []cache.Indexer{r.claims, r.volumes} {
		keys, err := objects.IndexKeys(index, class)
		if err != nil {
			return false, fmt.Errorf("finding users of the class: %w", err)
		}
		if len(keys) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// Names answers the classes that a claim or a volume has, has had until it got another one, or is about to get.
func Names(o any) []string {
	var names []string
	add := func(name *string) {
		if name != nil && *name != "" && !slices.Contains(names, *name) {
			names = append(names, *name)
		}
	}
	switch o := o.(type) {
	case *corev1.PersistentVolumeClaim:
		add(o.Spec.VolumeAttributesClassName)
		add(o.Status.CurrentVolumeAttributesClassName)
		if o.Status.ModifyVolumeStatus != nil {
			add(&o.Status.ModifyVolumeStatus.TargetVolumeAttributesClassName)
		}
	case *corev1.PersistentVolume:
		add(o.Spec.VolumeAttributesClassName)
	}
	return names
}
