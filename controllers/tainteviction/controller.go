// Package tainteviction drives pods from nodes whose NoExecute taints they do not tolerate, or no longer do.
package tainteviction

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

const workers = 8

type reconciler struct {
	env     controller.Env
	pods    listers.PodLister
	indexer cache.Indexer
	nodes   listers.NodeLister

	mu sync.Mutex
	// since is when a pod was first seen with taints that it only bears for a time. It lives in memory: a restarted
	// process gives nodes the chance to come back before it takes their taints at their word.
	since map[types.UID]time.Time
}

// New declares the controller; its keys are pods.
func New(env controller.Env) (controller.Spec, error) {
	pods, nodes := env.Informers.Core().V1().Pods(), env.Informers.Core().V1().Nodes()
	if err := podset.AddNodeIndex(pods.Informer()); err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{
		env: env, pods: pods.Lister(), indexer: pods.Informer().GetIndexer(), nodes: nodes.Lister(),
		since: map[types.UID]time.Time{},
	}
	return controller.Spec{
		Name: "tainteviction", Reconcile: r.reconcile, Workers: workers,
		Watches: []controller.Watch{
			{Informer: pods.Informer(), Keys: r.ofPod},
			{Informer: nodes.Informer(), Keys: r.ofNode},
		},
	}, nil
}

// ofPod asks for a pod when its node or tolerations changed.
func (r *reconciler) ofPod(before, after metav1.Object) []controller.Key {
	old, pod := controller.PodOf(before), controller.PodOf(after)
	if pod == nil {
		r.forget(old.UID)
		return nil
	}
	if pod.Spec.NodeName == "" || (old != nil && old.Spec.NodeName == pod.Spec.NodeName && slices.EqualFunc(old.Spec.Tolerations, pod.Spec.Tolerations, sameToleration)) {
		return nil
	}
	return []controller.Key{controller.KeyOf(pod)}
}

func sameToleration(a, b corev1.Toleration) bool {
	return a.MatchToleration(&b) && seconds(a) == seconds(b)
}

func seconds(t corev1.Toleration) int64 {
	if t.TolerationSeconds == nil {
		return -1
	}
	return *t.TolerationSeconds
}

// ofNode asks for every pod of a node whose NoExecute taints changed.
func (r *reconciler) ofNode(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Node)
	node, _ := after.(*corev1.Node)
	if node == nil || slices.EqualFunc(noExecute(old), noExecute(node), func(a, b corev1.Taint) bool { return a.MatchTaint(&b) && a.Value == b.Value }) {
		return nil
	}
	pods, err := podset.OnNode(r.indexer, node.Name)
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, p := range pods {
		keys = append(keys, controller.KeyOf(p))
	}
	return keys
}

func noExecute(node *corev1.Node) []corev1.Taint {
	if node == nil {
		return nil
	}
	var found []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			found = append(found, t)
		}
	}
	return found
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	pod, err := r.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading pod: %w", err)
	}
	node, err := r.nodes.Get(pod.Spec.NodeName)
	if err != nil || pod.DeletionTimestamp != nil {
		r.forget(pod.UID)
		return controller.Result{}, nil // a pod of no node is podgc's
	}
	stay := Stay(pod, node.Spec.Taints)
	if stay == Forever {
		if r.forget(pod.UID) {
			r.env.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s/%s", pod.Namespace, pod.Name)
		}
		return controller.Result{}, nil
	}
	now := r.env.Clock.Now()
	if left := r.firstSeen(pod.UID, now).Add(stay).Sub(now); left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	return controller.Result{}, r.evict(ctx, pod)
}

func (r *reconciler) firstSeen(uid types.UID, now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.since[uid]; ok {
		return at
	}
	r.since[uid] = now
	return now
}

func (r *reconciler) forget(uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.since[uid]
	delete(r.since, uid)
	return known
}

func (r *reconciler) evict(ctx context.Context, pod *corev1.Pod) error {
	r.env.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(r.env.Clock.Now()),
			ObservedGeneration: pod.Generation,
		}}},
	})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	pods := r.env.Client.CoreV1().Pods(pod.Namespace)
	if _, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return ignoreGone(fmt.Errorf("marking pod: %w", err))
	}
	if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}); err != nil {
		return ignoreGone(fmt.Errorf("deleting pod: %w", err))
	}
	r.forget(pod.UID)
	return nil
}

// ignoreGone drops the errors that say that the pod is gone or another one.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return err
}
