package devicetainteviction

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applyresourcev1 "k8s.io/client-go/applyconfigurations/resource/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

const fieldManager = "device-taint-eviction-controller"

// evict marks the pod, so that its owner knows that it did not fail, and deletes it. A pod that was replaced by another
// of its name is gone already.
func (r *reconciler) evict(ctx context.Context, key controller.Key, pod *corev1.Pod, eviction *Eviction) error {
	r.env.Events.Event(pod, corev1.EventTypeNormal, "DeviceTaintManagerEviction", "Marking for deletion")
	if err := r.mark(ctx, pod); err != nil {
		return ignoreGone(err)
	}
	err := r.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil {
		return ignoreGone(fmt.Errorf("deleting pod: %w", err))
	}
	r.log.Deleted(key, r.podIndex, pod)
	r.settle(key)
	deletions.Inc()
	latency.Observe(r.env.Clock.Since(eviction.When).Seconds())
	r.mu.Lock()
	for _, rule := range eviction.Rules {
		r.evicted[rule.UID]++
	}
	r.mu.Unlock()
	r.wake(eviction.Rules)
	return nil
}

func (r *reconciler) mark(ctx context.Context, pod *corev1.Pod) error {
	condition := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByDeviceTaintManager",
		Message: "Device Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(r.env.Clock.Now()),
	}
	if has := podset.Condition(pod, condition.Type); has != nil && has.Status == condition.Status {
		if condition.LastTransitionTime = has.LastTransitionTime; has.Reason == condition.Reason && has.Message == condition.Message {
			return nil
		}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{condition}},
	})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	if _, err := r.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("marking pod: %w", err)
	}
	return nil
}

// ignoreGone drops the errors that say that the pod is gone or another one.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return err
}

// rule tells in the rule's status how far its evictions are: at once when the rule is new or changed, else not more
// often than every statusPeriod.
func (r *reconciler) rule(ctx context.Context, key controller.Key, name string) (controller.Result, error) {
	rule, err := r.rules.Get(name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading rule: %w", err)
	}
	now := r.env.Clock.Now()
	r.mu.Lock()
	due, fresh := r.due[name], r.fresh[name]
	r.mu.Unlock()
	if left := due.Sub(now); !fresh && left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	existing := current(rule)
	if since := now.Sub(existing.LastTransitionTime.Time); existing.Type != "" && existing.ObservedGeneration == rule.Generation && since < statusPeriod {
		return controller.Result{RequeueAfter: statusPeriod - since}, nil
	}
	r.mu.Lock()
	delete(r.due, name) // what happens from now on asks for the rule again
	delete(r.fresh, name)
	evicted := r.evicted[rule.UID]
	r.mu.Unlock()
	counts, err := r.count(rule)
	if err != nil {
		return controller.Result{}, err
	}
	counts.Evicted = evicted
	condition := Condition(rule, counts)
	if condition.LastTransitionTime = existing.LastTransitionTime; condition == existing {
		return controller.Result{}, nil
	}
	condition.LastTransitionTime = metav1.NewTime(now)
	return controller.Result{}, r.write(ctx, key, rule, condition)
}

func current(rule *resourcev1.DeviceTaintRule) metav1.Condition {
	i := slices.IndexFunc(rule.Status.Conditions, func(c metav1.Condition) bool { return c.Type == resourcev1.DeviceTaintConditionEvictionInProgress })
	if i < 0 {
		return metav1.Condition{}
	}
	return rule.Status.Conditions[i]
}

// count looks at every pod for a rule that evicts, and for one without effect as if it did.
func (r *reconciler) count(rule *resourcev1.DeviceTaintRule) (n Counts, err error) {
	effect := rule.Spec.Taint.Effect
	if effect != resourcev1.DeviceTaintEffectNoExecute && effect != resourcev1.DeviceTaintEffectNone {
		return n, nil
	}
	world, err := r.world()
	if err != nil {
		return n, err
	}
	if effect == resourcev1.DeviceTaintEffectNone {
		as := rule.DeepCopy()
		as.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute
		world.Rules = []*resourcev1.DeviceTaintRule{as}
		published, err := r.slices.List(labels.Everything())
		if err != nil {
			return n, fmt.Errorf("listing slices: %w", err)
		}
		claims, err := r.claims.List(labels.Everything())
		if err != nil {
			return n, fmt.Errorf("listing claims: %w", err)
		}
		n.Published, n.Allocated = Published(rule, published), Allocated(rule, claims)
	}
	pods, err := r.pods.List(labels.Everything())
	if err != nil {
		return n, fmt.Errorf("listing pods: %w", err)
	}
	n.Pods, n.Namespaces = Pending(rule, pods, world)
	return n, nil
}

// write applies the condition to the rule of that UID and no other.
func (r *reconciler) write(ctx context.Context, key controller.Key, rule *resourcev1.DeviceTaintRule, c metav1.Condition) error {
	wanted := applyresourcev1.DeviceTaintRule(rule.Name).WithUID(rule.UID).WithStatus(applyresourcev1.DeviceTaintRuleStatus().WithConditions(
		applymetav1.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime)))
	updated, err := r.env.Client.ResourceV1().DeviceTaintRules().ApplyStatus(ctx, wanted, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("add condition to DeviceTaintRule status: %w", err)
	}
	r.log.Wrote(key, r.ruleIndex, updated)
	return nil
}
