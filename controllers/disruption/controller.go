// Package disruption keeps the status of PodDisruptionBudgets: how many of their pods may be evicted just now.
package disruption

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	listers "k8s.io/client-go/listers/policy/v1"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/written"
)

type reconciler struct {
	env     controller.Env
	budgets listers.PodDisruptionBudgetLister
	pods    corelisters.PodLister
	store   written.Store
	owners  owners
	log     written.Log
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	budgets, pods := env.Informers.Policy().V1().PodDisruptionBudgets(), env.Informers.Core().V1().Pods()
	owners, err := newOwners(env)
	if err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{
		env: env, budgets: budgets.Lister(), pods: pods.Lister(), store: budgets.Informer().GetIndexer(), owners: owners,
	}
	return controller.Spec{
		Name: "disruption", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: budgets.Informer(), Keys: controller.Self},
			{Informer: pods.Informer(), Keys: r.ofPod},
		},
	}, nil
}

// ofPod answers the budgets that select the pod, before or after the change.
func (r *reconciler) ofPod(before, after metav1.Object) []controller.Key {
	var keys []controller.Key
	for _, o := range []metav1.Object{before, after} {
		pod := controller.PodOf(o)
		if pod == nil {
			continue
		}
		budgets, err := r.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
		if err != nil {
			return nil
		}
		for _, b := range budgets {
			if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && s.Matches(labels.Set(pod.Labels)) {
				keys = append(keys, controller.KeyOf(b))
			}
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	budget, err := r.budgets.PodDisruptionBudgets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading budget: %w", err)
	}
	s, err := r.snapshot(ctx, budget)
	if err != nil {
		return controller.Result{}, r.fail(ctx, budget, err)
	}
	for _, p := range Overdue(s) {
		r.env.Events.Eventf(p, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name)
	}
	status, again, err := Status(s)
	if err != nil {
		return controller.Result{}, r.fail(ctx, budget, err)
	}
	return controller.Result{RequeueAfter: again}, r.write(ctx, budget, status)
}

// fail shows why nothing may be disrupted; the next change of the budget or its pods is the next attempt.
func (r *reconciler) fail(ctx context.Context, budget *policyv1.PodDisruptionBudget, cause error) error {
	klog.FromContext(ctx).V(2).Info("Could not tell what a budget allows", "error", cause)
	return r.write(ctx, budget, Failed(budget, cause))
}

func (r *reconciler) snapshot(ctx context.Context, budget *policyv1.PodDisruptionBudget) (Snapshot, error) {
	s := Snapshot{Budget: budget, Now: r.env.Clock.Now()}
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err == nil {
		s.Pods, err = r.pods.Pods(budget.Namespace).List(selector)
	}
	if err != nil {
		r.env.Events.Eventf(budget, corev1.EventTypeWarning, "NoPods", "Failed to get pods: %v", err)
		return s, err
	}
	if len(s.Pods) == 0 {
		r.env.Events.Event(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if usesScale(budget) {
		var unmanaged []string
		if s.Scale, unmanaged, err = r.owners.total(ctx, s.Pods); err != nil {
			r.env.Events.Eventf(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
			return s, err
		}
		if len(unmanaged) > 0 {
			r.env.Events.Eventf(budget, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
				"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
				"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", budget.Spec.Selector)
		}
	}
	return s, nil
}

func (r *reconciler) write(ctx context.Context, budget *policyv1.PodDisruptionBudget, status policyv1.PodDisruptionBudgetStatus) error {
	if equality.Semantic.DeepEqual(budget.Status, status) {
		return nil
	}
	changed := budget.DeepCopy()
	changed.Status = status
	result, err := r.env.Client.PolicyV1().PodDisruptionBudgets(budget.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(budget), r.store, result)
	return nil
}
