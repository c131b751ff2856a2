package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"skiff/controllers/internal/podset"
)

// grace is how long an evicted pod may take until it is seen terminating.
const grace = 2 * time.Minute

// Snapshot is what a plan is made from.
type Snapshot struct {
	Budget *policyv1.PodDisruptionBudget
	// Pods are the pods that the budget selects.
	Pods []*corev1.Pod
	// Scale is the number of pods that their controllers want; used only by budgets that speak of a share.
	Scale int32
	Now   time.Time
}

// Status answers the budget's status, and when it changes by time alone (0 for never).
func Status(s Snapshot) (policyv1.PodDisruptionBudgetStatus, time.Duration, error) {
	expected, desired, err := amounts(s)
	if err != nil {
		return policyv1.PodDisruptionBudgetStatus{}, 0, err
	}
	disrupted, again := stillDisrupted(s)
	b := s.Budget.DeepCopy()
	b.Status.ObservedGeneration = b.Generation
	b.Status.ExpectedPods, b.Status.DesiredHealthy = expected, desired
	b.Status.CurrentHealthy = healthy(s.Pods, disrupted)
	b.Status.DisruptedPods = disrupted
	b.Status.DisruptionsAllowed = max(0, b.Status.CurrentHealthy-desired)
	if expected <= 0 {
		b.Status.DisruptionsAllowed = 0
	}
	poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
	return b.Status, again, nil
}

// amounts answers how many pods there should be and how many of them must be healthy; shares are rounded up.
func amounts(s Snapshot) (expected, desired int32, err error) {
	switch spec := s.Budget.Spec; {
	case spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(s.Scale), true)
		if err != nil {
			return 0, 0, fmt.Errorf("reading maxUnavailable: %w", err)
		}
		return s.Scale, max(0, s.Scale-int32(n)), nil
	case spec.MinAvailable == nil:
		return 0, 0, nil
	case spec.MinAvailable.Type == intstr.Int:
		return int32(len(s.Pods)), spec.MinAvailable.IntVal, nil
	default:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(s.Scale), true)
		if err != nil {
			return 0, 0, fmt.Errorf("reading minAvailable: %w", err)
		}
		return s.Scale, int32(n), nil
	}
}

// usesScale answers whether the budget must know what the pods' controllers want.
func usesScale(b *policyv1.PodDisruptionBudget) bool {
	return b.Spec.MaxUnavailable != nil || (b.Spec.MinAvailable != nil && b.Spec.MinAvailable.Type == intstr.String)
}

// stillDisrupted answers the evicted pods that are not seen terminating yet and have time left.
func stillDisrupted(s Snapshot) (map[string]metav1.Time, time.Duration) {
	kept := map[string]metav1.Time{}
	var again time.Duration
	for _, p := range s.Pods {
		at, ok := s.Budget.Status.DisruptedPods[p.Name]
		left := at.Add(grace).Sub(s.Now)
		if !ok || p.DeletionTimestamp != nil || left <= 0 {
			continue
		}
		kept[p.Name] = at
		if again == 0 || left < again {
			again = left
		}
	}
	if len(kept) == 0 {
		return nil, 0
	}
	return kept, again
}

// Overdue answers the evicted pods that were to be terminating by now and are not.
func Overdue(s Snapshot) []*corev1.Pod {
	return podset.Select(s.Pods, func(p *corev1.Pod) bool {
		at, ok := s.Budget.Status.DisruptedPods[p.Name]
		return ok && p.DeletionTimestamp == nil && !at.Add(grace).After(s.Now)
	})
}

func healthy(pods []*corev1.Pod, disrupted map[string]metav1.Time) int32 {
	var n int32
	for _, p := range pods {
		if _, gone := disrupted[p.Name]; !gone && p.DeletionTimestamp == nil && podset.Ready(p) {
			n++
		}
	}
	return n
}

// Failed answers the status of a budget that could not be computed: nothing may be disrupted. The generation isn't observed.
func Failed(b *policyv1.PodDisruptionBudget, cause error) policyv1.PodDisruptionBudgetStatus {
	status := *b.Status.DeepCopy()
	status.DisruptionsAllowed = 0
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: cause.Error(), ObservedGeneration: status.ObservedGeneration,
	})
	return status
}
