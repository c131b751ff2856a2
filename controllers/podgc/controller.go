// Package podgc removes pods that nobody else will: of nodes that are gone, and finished ones in great number.
package podgc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

const period = 20 * time.Second

type reconciler struct {
	env   controller.Env
	pods  listers.PodLister
	nodes listers.NodeLister

	mu   sync.Mutex
	gone map[string]time.Time
}

// New declares the controller. It has one key: each pass looks at all pods.
func New(env controller.Env) (controller.Spec, error) {
	pods, nodes := env.Informers.Core().V1().Pods(), env.Informers.Core().V1().Nodes()
	r := &reconciler{env: env, pods: pods.Lister(), nodes: nodes.Lister(), gone: map[string]time.Time{}}
	return controller.Spec{
		Name: "podgc", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: pods.Informer(), Keys: unbound},
			{Informer: nodes.Informer(), Keys: lost},
		},
		Feed: func(_ context.Context, add func(controller.Key)) { add(all()) },
	}, nil
}

func all() controller.Key { return controller.Key{Name: "all pods"} }

// unbound looks at once when a pod is deleted that no node will ever end.
func unbound(_, after metav1.Object) []controller.Key {
	if pod := controller.PodOf(after); pod != nil && pod.Spec.NodeName == "" && pod.DeletionTimestamp != nil {
		return []controller.Key{all()}
	}
	return nil
}

func lost(_, after metav1.Object) []controller.Key {
	if after == nil {
		return []controller.Key{all()}
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, _ controller.Key) (controller.Result, error) {
	snapshot, err := r.snapshot()
	if err != nil {
		return controller.Result{}, err
	}
	var errs []error
	for _, d := range NewPlan(snapshot) {
		errs = append(errs, r.remove(ctx, d))
	}
	return controller.Result{RequeueAfter: period}, errors.Join(errs...)
}

func (r *reconciler) snapshot() (Snapshot, error) {
	s := Snapshot{Nodes: map[string]*corev1.Node{}, Gone: map[string]time.Time{}, Now: r.env.Clock.Now()}
	nodes, err := r.nodes.List(labels.Everything())
	if err != nil {
		return s, fmt.Errorf("listing nodes: %w", err)
	}
	for _, n := range nodes {
		s.Nodes[n.Name] = n
	}
	if s.Pods, err = r.pods.List(labels.Everything()); err != nil {
		return s, fmt.Errorf("listing pods: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range s.Pods {
		if _, known := s.Nodes[p.Spec.NodeName]; known || p.Spec.NodeName == "" {
			continue
		}
		since, seen := r.gone[p.Spec.NodeName]
		if !seen {
			since = s.Now
		}
		s.Gone[p.Spec.NodeName] = since
	}
	r.gone = s.Gone
	return s, nil
}

// remove asks the server once more whether a missing node is missing before it believes the cache.
func (r *reconciler) remove(ctx context.Context, d Doomed) error {
	if d.Reason != "" {
		if _, err := r.env.Client.CoreV1().Nodes().Get(ctx, d.Pod.Spec.NodeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return err
		}
	}
	pods := r.env.Client.CoreV1().Pods(d.Pod.Namespace)
	if patch, err := ending(d, r.env.Clock.Now()); err != nil {
		return err
	} else if patch != nil {
		if _, err := pods.Patch(ctx, d.Pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			return ignoreGone(fmt.Errorf("marking pod: %w", err))
		}
	}
	now := int64(0)
	err := pods.Delete(ctx, d.Pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(d.Pod.UID))})
	if err != nil {
		return ignoreGone(fmt.Errorf("removing pod: %w", err))
	}
	return nil
}

// ending answers the patch that gives an unfinished pod its last phase, nil without need.
func ending(d Doomed, now time.Time) ([]byte, error) {
	if podset.Finished(d.Pod) {
		return nil, nil
	}
	status := map[string]any{"phase": corev1.PodFailed, "observedGeneration": d.Pod.Generation}
	if d.Reason != "" {
		status["conditions"] = []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: d.Reason, Message: d.Message,
			LastTransitionTime: metav1.NewTime(now), ObservedGeneration: d.Pod.Generation,
		}}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": d.Pod.UID}, "status": status})
	if err != nil {
		return nil, fmt.Errorf("encoding patch: %w", err)
	}
	return patch, nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return err
}
