// Package devicetainteviction drives pods from devices with NoExecute taints that their claims do not tolerate, or no
// longer do (KEP-5055), and tells in the status of DeviceTaintRules how far that is. Taints come from drivers, in
// ResourceSlices, and from people, in DeviceTaintRules.
package devicetainteviction

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/written"
)

const (
	workers = 10
	// statusPeriod is the shortest time between two updates of a rule's status while pods are evicted.
	statusPeriod = 10 * time.Second

	podPrefix, rulePrefix = "pod/", "rule/"

	slicesOfPool, claimsOfPool = "skiff.controllers/slices-of-pool", "skiff.controllers/claims-of-pool"
)

type reconciler struct {
	env        controller.Env
	pods       listers.PodLister
	podIndex   cache.Indexer
	claims     resourcelisters.ResourceClaimLister
	claimIndex cache.Indexer
	slices     resourcelisters.ResourceSliceLister
	sliceIndex cache.Indexer
	rules      resourcelisters.DeviceTaintRuleLister
	ruleIndex  cache.Indexer
	log        written.Log

	mu sync.Mutex
	// add queues a key; it is there before the first key is reconciled.
	add func(controller.Key)
	// evicting are the pods whose end has been decided.
	evicting map[controller.Key]types.UID
	// evicted counts the pods that a rule drove out.
	evicted map[types.UID]int64
	// due is when to look at a rule's status next because of its pods; fresh are the rules to look at without delay.
	due   map[string]time.Time
	fresh map[string]bool
}

// New declares the controller; its keys are pods and rules, told apart by the start of their names.
func New(env controller.Env) (controller.Spec, error) {
	pods, devices := env.Informers.Core().V1().Pods(), env.Informers.Resource().V1()
	claims, slices, rules := devices.ResourceClaims(), devices.ResourceSlices(), devices.DeviceTaintRules()
	if err := slices.Informer().AddIndexers(cache.Indexers{slicesOfPool: poolOf}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing slices by pool: %w", err)
	}
	if err := claims.Informer().AddIndexers(cache.Indexers{claimsOfPool: poolsOf}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing claims by pool: %w", err)
	}
	r := &reconciler{
		env: env, pods: pods.Lister(), podIndex: pods.Informer().GetIndexer(), claims: claims.Lister(), claimIndex: claims.Informer().GetIndexer(),
		slices: slices.Lister(), sliceIndex: slices.Informer().GetIndexer(), rules: rules.Lister(), ruleIndex: rules.Informer().GetIndexer(),
		evicting: map[controller.Key]types.UID{}, evicted: map[types.UID]int64{}, due: map[string]time.Time{}, fresh: map[string]bool{},
	}
	registerMetrics()
	return controller.Spec{
		Name: "devicetainteviction", Reconcile: r.reconcile, Workers: workers, Feed: r.feed,
		Watches: []controller.Watch{
			{Informer: rules.Informer(), Keys: r.ofRule},
			{Informer: slices.Informer(), Keys: r.ofSlice},
			{Informer: claims.Informer(), Keys: r.ofClaim},
			{Informer: pods.Informer(), Keys: r.ofPod},
		},
	}, nil
}

func (r *reconciler) feed(_ context.Context, add func(controller.Key)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add = add
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	if name, ok := strings.CutPrefix(key.Name, rulePrefix); ok {
		return r.rule(ctx, key, name)
	}
	return r.pod(ctx, key, strings.TrimPrefix(key.Name, podPrefix))
}

func (r *reconciler) pod(ctx context.Context, key controller.Key, name string) (controller.Result, error) {
	pod, err := r.pods.Pods(key.Namespace).Get(name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		r.settle(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading pod: %w", err)
	}
	world, err := r.world()
	if err != nil {
		return controller.Result{}, err
	}
	eviction := Evict(pod, world)
	if eviction == nil || pod.DeletionTimestamp != nil {
		if r.settle(key) == pod.UID && pod.DeletionTimestamp == nil {
			r.env.Events.Event(pod, corev1.EventTypeNormal, "DeviceTaintManagerEviction", "Cancelling deletion")
		}
		return controller.Result{}, nil
	}
	r.decided(key, pod.UID)
	r.wake(eviction.Rules)
	if left := eviction.When.Sub(r.env.Clock.Now()); left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	return controller.Result{}, r.evict(ctx, key, pod, eviction)
}

// world reads what Evict needs from the caches.
func (r *reconciler) world() (World, error) {
	rules, err := r.rules.List(labels.Everything())
	if err != nil {
		return World{}, fmt.Errorf("listing rules: %w", err)
	}
	return World{
		Claim: func(namespace, name string) *resourcev1.ResourceClaim {
			claim, err := r.claims.ResourceClaims(namespace).Get(name)
			if err != nil {
				return nil
			}
			return claim
		},
		Pool:  r.pool,
		Rules: rules,
	}, nil
}

func (r *reconciler) pool(driver, pool string) []*resourcev1.ResourceSlice {
	items, err := r.sliceIndex.ByIndex(slicesOfPool, poolKey(driver, pool))
	if err != nil {
		return nil
	}
	all := make([]*resourcev1.ResourceSlice, 0, len(items))
	for _, item := range items {
		if s, ok := item.(*resourcev1.ResourceSlice); ok {
			all = append(all, s)
		}
	}
	return all
}

func (r *reconciler) decided(key controller.Key, uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evicting[key] = uid
}

// settle forgets the pod's eviction and answers whose it was.
func (r *reconciler) settle(key controller.Key) types.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	uid := r.evicting[key]
	delete(r.evicting, key)
	return uid
}

// wake asks for the rules' statuses in a while: more pods may follow.
func (r *reconciler) wake(rules []*resourcev1.DeviceTaintRule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rule := range rules {
		if _, waits := r.due[rule.Name]; !waits {
			r.due[rule.Name] = r.env.Clock.Now().Add(statusPeriod)
			r.add(ruleKey(rule.Name))
		}
	}
}
