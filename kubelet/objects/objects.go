// Package objects answers the ConfigMaps and Secrets pods on this node refer to, and says when one changed.
//
// Answers come from the shared informers. A name the cache does not hold is asked of the API once more before it counts
// as missing, because a pod may reach this node over its watch before the object created ahead of it does over another.
// The API may refuse that for a moment, while it does not know yet that a pod of this node uses the object; the object
// then counts as missing, and its arrival in the cache is told like any change.
// A missing object is an apierrors NotFound whose text is `configmap "x" not found`, as users know it from events.
package objects

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Kind names the kinds a Ref can point to.
type Kind string

// The kinds of object pods refer to.
const (
	ConfigMap Kind = "configmap"
	Secret    Kind = "secret"
)

// Ref identifies one object.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

// Reader reads ConfigMaps and Secrets. It is safe for concurrent use.
type Reader struct {
	client     kubernetes.Interface
	configMaps corelisters.ConfigMapLister
	secrets    corelisters.SecretLister
	informers  map[Kind]cache.SharedIndexInformer
}

// New registers the informers it needs with factory, so it has to run before the factory is started.
func New(client kubernetes.Interface, factory informers.SharedInformerFactory) *Reader {
	maps, secrets := factory.Core().V1().ConfigMaps(), factory.Core().V1().Secrets()
	return &Reader{
		client:     client,
		configMaps: maps.Lister(),
		secrets:    secrets.Lister(),
		informers:  map[Kind]cache.SharedIndexInformer{ConfigMap: maps.Informer(), Secret: secrets.Informer()},
	}
}

// ConfigMap answers a ConfigMap that must not be changed. A missing one is a NotFound error.
func (r *Reader) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	found, err := r.configMaps.ConfigMaps(namespace).Get(name)
	if !apierrors.IsNotFound(err) {
		return found, err
	}
	live, liveErr := r.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(liveErr) || apierrors.IsForbidden(liveErr) {
		return nil, err
	}
	return live, liveErr
}

// Secret answers a Secret that must not be changed. A missing one is a NotFound error.
func (r *Reader) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	found, err := r.secrets.Secrets(namespace).Get(name)
	if !apierrors.IsNotFound(err) {
		return found, err
	}
	live, liveErr := r.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(liveErr) || apierrors.IsForbidden(liveErr) {
		return nil, err
	}
	return live, liveErr
}

// Watch calls changed for every ConfigMap and Secret that appears, changes or goes, for as long as the informers run.
// Calls come from the informers' goroutines and must not block.
func (r *Reader) Watch(changed func(Ref)) error {
	for kind, informer := range r.informers {
		if _, err := informer.AddEventHandler(handler(kind, changed)); err != nil {
			return fmt.Errorf("watching %ss: %w", kind, err)
		}
	}
	return nil
}

// HasSynced says whether everything that existed at start has been seen.
func (r *Reader) HasSynced() bool {
	for _, informer := range r.informers {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// handler turns informer events of one kind into calls of changed; resyncs, which change nothing, are dropped.
func handler(kind Kind, changed func(Ref)) cache.ResourceEventHandler {
	report := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if object, ok := obj.(metav1.Object); ok {
			changed(Ref{Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    report,
		DeleteFunc: report,
		UpdateFunc: func(before, after any) {
			was, ok := before.(metav1.Object)
			is, ok2 := after.(metav1.Object)
			if ok && ok2 && was.GetResourceVersion() == is.GetResourceVersion() && is.GetResourceVersion() != "" {
				return
			}
			report(after)
		},
	}
}
