package controller

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Key names the object to reconcile.
type Key = types.NamespacedName

// Result says when to reconcile a key again without an event.
type Result = reconcile.Result

// Watch turns events of one informer into keys.
type Watch struct {
	// Informer is one of the shared informers.
	Informer cache.SharedIndexInformer
	// Keys answers what an event concerns. before is nil for an added object, after is nil for a deleted one.
	Keys func(before, after metav1.Object) []Key
}

// KeyOf answers the object's own key.
func KeyOf(o metav1.Object) Key { return Key{Namespace: o.GetNamespace(), Name: o.GetName()} }

// Self names the object the event is about.
func Self(before, after metav1.Object) []Key {
	if after != nil {
		return []Key{KeyOf(after)}
	}
	return []Key{KeyOf(before)}
}

// Owner names the controlling owner of the given kind, both before and after the event. Objects without any
// controller go to orphan, which may be nil, to find owners that could adopt them.
func Owner(kind string, orphan func(metav1.Object) []Key) func(before, after metav1.Object) []Key {
	return func(before, after metav1.Object) []Key {
		var keys []Key
		for _, o := range []metav1.Object{before, after} {
			if o == nil {
				continue
			}
			if ref := metav1.GetControllerOfNoCopy(o); ref != nil && ref.Kind == kind {
				keys = append(keys, Key{Namespace: o.GetNamespace(), Name: ref.Name})
			}
		}
		if orphan != nil && after != nil && after.GetDeletionTimestamp() == nil && metav1.GetControllerOfNoCopy(after) == nil {
			keys = append(keys, orphan(after)...)
		}
		return keys
	}
}

// source feeds a Watch into a controller-runtime controller.
type source struct {
	watch      Watch
	registered cache.ResourceEventHandlerRegistration
}

// Start registers the handler and removes it again when ctx ends.
func (s *source) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	registered, err := s.watch.Informer.AddEventHandler(s.handler(queue))
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	s.registered = registered
	context.AfterFunc(ctx, func() { _ = s.watch.Informer.RemoveEventHandler(registered) })
	return nil
}

// WaitForSync waits until the handler has been told of everything the informer listed first.
func (s *source) WaitForSync(ctx context.Context) error {
	if s.registered == nil {
		return errors.New("waiting for a watch that was not started")
	}
	if !cache.WaitForCacheSync(ctx.Done(), s.registered.HasSynced) {
		return fmt.Errorf("waiting for the cache: %w", context.Cause(ctx))
	}
	return nil
}

func (s *source) handler(queue workqueue.TypedRateLimitingInterface[reconcile.Request]) cache.ResourceEventHandler {
	add := func(before, after any) {
		for _, k := range s.watch.Keys(object(before), object(after)) {
			queue.Add(reconcile.Request{NamespacedName: k})
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { add(nil, o) },
		UpdateFunc: func(before, after any) { add(before, after) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if object(o) != nil {
				add(o, nil)
			}
		},
	}
}

func object(o any) metav1.Object {
	if m, ok := o.(metav1.Object); ok {
		return m
	}
	return nil
}

// PodOf answers o as a pod, nil for anything else.
func PodOf(o metav1.Object) *corev1.Pod {
	pod, _ := o.(*corev1.Pod)
	return pod
}
