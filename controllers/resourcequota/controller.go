// Package resourcequota keeps the status of resource quotas: the limits in force, and what is used of them.
//
// Admission charges what is created; this controller adds a namespace up again when something in it was deleted, ended
// or shrank, when a quota changed, and from time to time. Kinds that the process holds anyway are added up from its
// cache; others are watched, as metadata, only while a quota counts them.
package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/cached"
	"skiff/controllers/internal/controller"
	"skiff/internal/quota"
)

const (
	// resync is how often a quota is added up without cause.
	resync = 5 * time.Minute
	// settle is how long after a change the sum is checked: an object that admission charged before it was stored may
	// have been missing from it.
	settle = 5 * time.Second
	// absent is how often a kind is looked for that isn't served, filling how often one that isn't listed yet.
	absent, filling = 30 * time.Second, 50 * time.Millisecond
)

// source is a kind that is measured.
type source struct {
	quota.Meter
	informer cache.SharedIndexInformer
}

type reconciler struct {
	env    controller.Env
	quotas listers.ResourceQuotaLister
	// measured are the kinds that cost more than their number, held those that are counted from the shared cache.
	measured []source
	held     map[schema.GroupResource]source
	counts   *counts
}

// New declares the controller; its keys are quotas.
func New(env controller.Env) (controller.Spec, error) {
	objects, err := metadata.NewForConfig(controller.Unlimited(env.Config))
	if err != nil {
		return controller.Spec{}, fmt.Errorf("building metadata client: %w", err)
	}
	quotas := env.Informers.Core().V1().ResourceQuotas()
	r := &reconciler{env: env, quotas: quotas.Lister(), held: map[schema.GroupResource]source{}}
	r.counts = &counts{discovery: env.Client.Discovery(), objects: objects, clock: env.Clock, changed: r.replenish, open: map[schema.GroupResource]*count{}}
	if err := r.sources(); err != nil {
		return controller.Spec{}, err
	}
	watches := []controller.Watch{{Informer: quotas.Informer(), Keys: redefined}}
	for _, s := range r.measured {
		watches = append(watches, controller.Watch{Informer: s.informer, Keys: r.freed(s.Meter)})
	}
	for _, s := range r.held {
		watches = append(watches, controller.Watch{Informer: s.informer, Keys: r.freed(s.Meter)})
	}
	return controller.Spec{Name: "resourcequota", Reconcile: r.reconcile, Watches: watches, Feed: r.counts.feed, Run: r.counts.run}, nil
}

// sources lists the kinds that the process holds.
func (r *reconciler) sources() error {
	core, dra := r.env.Informers.Core().V1(), r.env.Informers.Resource().V1()
	classes := extendedresourcecache.NewExtendedResourceCache(klog.Background())
	if _, err := dra.DeviceClasses().Informer().AddEventHandler(classes); err != nil {
		return fmt.Errorf("watching device classes: %w", err)
	}
	devices := quota.Devices{Classes: classes, Pods: core.Pods().Lister(), Claims: dra.ResourceClaims().Lister(), Clock: r.env.Clock}
	r.measured = []source{
		{quota.Pods(r.env.Clock), core.Pods().Informer()},
		{quota.Services(), core.Services().Informer()},
		{quota.Claims(), core.PersistentVolumeClaims().Informer()},
		{devices.Meter(), dra.ResourceClaims().Informer()},
	}
	for gvr, informer := range cached.Informers(r.env.Informers) {
		kind := gvr.GroupResource()
		if !r.measures(kind) && gvr.Resource != "nodes" && gvr.Resource != "namespaces" {
			r.held[kind] = source{quota.Count(kind), informer}
		}
	}
	return nil
}

// measures says whether objects of the kind cost more than their number.
func (r *reconciler) measures(kind schema.GroupResource) bool {
	for _, s := range r.measured {
		if s.Resource == kind {
			return true
		}
	}
	return false
}

// redefined names a quota that came, went or limits something else; its status is this controller's own work, or a
// charge of admission's.
func redefined(before, after metav1.Object) []controller.Key {
	was, ok := before.(*corev1.ResourceQuota)
	now, is := after.(*corev1.ResourceQuota)
	if ok && is && sameLimits(was, now) {
		return nil
	}
	return controller.Self(before, after)
}

// freed names the quotas of which something that the meter measures has become free.
func (r *reconciler) freed(m quota.Meter) func(before, after metav1.Object) []controller.Key {
	return func(before, after metav1.Object) []controller.Key {
		if before == nil || (after != nil && !Frees(before, after, r.env.Clock)) {
			return nil
		}
		return r.concerned(m, before.GetNamespace())
	}
}

func (r *reconciler) concerned(m quota.Meter, namespace string) []controller.Key {
	all, err := r.quotas.ResourceQuotas(namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, q := range Concerned(m, all) {
		keys = append(keys, controller.KeyOf(q))
	}
	return keys
}

// replenish names the quotas to add up again when an object of a counted kind has gone.
func (r *reconciler) replenish(kind schema.GroupResource, namespace string) []controller.Key {
	return r.concerned(quota.Count(kind), namespace)
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	q, err := r.quotas.ResourceQuotas(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.counts.release(key, nil)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading the quota: %w", err)
	}
	used, again, errs := r.measure(ctx, q)
	next, changed := Status(q, used)
	if changed {
		again = min(again, settle)
		copied := q.DeepCopy()
		copied.Status = next
		_, err := r.env.Client.CoreV1().ResourceQuotas(q.Namespace).UpdateStatus(ctx, copied, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			return controller.Result{}, err
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = errors.Join(errs, fmt.Errorf("writing the status: %w", err))
		}
	}
	return controller.Result{RequeueAfter: again}, errs
}

// measure adds up what the quota limits, and says when to do so again.
func (r *reconciler) measure(ctx context.Context, q *corev1.ResourceQuota) (corev1.ResourceList, time.Duration, error) {
	used, again := corev1.ResourceList{}, resync
	names, scopes := Names(q.Spec.Hard), quota.Scopes(&q.Spec)
	var errs error
	for _, s := range r.measured {
		errs = errors.Join(errs, s.sum(used, q.Namespace, scopes, names))
	}
	var watched []schema.GroupResource
	for _, kind := range Counted(names) {
		if s, ok := r.held[kind]; ok {
			errs = errors.Join(errs, s.sum(used, q.Namespace, scopes, names))
		} else if !r.measures(kind) && !quota.Ignored(kind) {
			watched = append(watched, kind)
		}
	}
	r.counts.release(controller.KeyOf(q), watched)
	for _, kind := range watched {
		s, state, err := r.counts.source(ctx, controller.KeyOf(q), kind)
		switch {
		case err != nil:
			errs = errors.Join(errs, err)
		case state > 0:
			again = min(again, state)
		default:
			errs = errors.Join(errs, s.sum(used, q.Namespace, scopes, names))
		}
	}
	return used, again, errs
}

// sum adds what the namespace's objects of the kind use of the names. Kinds may share a name: pods and resource
// claims use extended resources.
func (s source) sum(used corev1.ResourceList, namespace string, scopes []corev1.ScopedResourceSelectorRequirement, names []corev1.ResourceName) error {
	charged := s.Charged(names)
	if len(charged) == 0 {
		return nil
	}
	found, err := s.informer.GetIndexer().ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return fmt.Errorf("listing %s: %w", s.Resource, err)
	}
	objects := make([]runtime.Object, 0, len(found))
	for _, o := range found {
		if object, ok := o.(runtime.Object); ok {
			objects = append(objects, object)
		}
	}
	sum, err := s.Sum(objects, scopes, charged)
	if err != nil {
		return fmt.Errorf("measuring %s: %w", s.Resource, err)
	}
	for name, q := range sum {
		total := used[name]
		total.Add(q)
		used[name] = total
	}
	return nil
}
