package plugins

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// byImportance sorts by priority, then by who runs longer.
func byImportance(pods []*framework.PodInfo) []*framework.PodInfo {
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, func(a, b *framework.PodInfo) int {
		if a.Priority != b.Priority {
			return cmp.Compare(b.Priority, a.Priority)
		}
		return startTime(a.Pod).Compare(startTime(b.Pod))
	})
	return sorted
}

// startTime of a pod that hasn't started is now.
func startTime(pod *corev1.Pod) time.Time {
	if pod.Status.StartTime == nil {
		return time.Now()
	}
	return pod.Status.StartTime.Time
}

// splitByBudget takes the pods in order and spends the disruptions every budget allows; the pods for which nothing is
// left would violate a budget.
func splitByBudget(pods []*framework.PodInfo, budgets []*policyv1.PodDisruptionBudget) (violating, others []*framework.PodInfo) {
	allowed := make([]int32, len(budgets))
	for i, b := range budgets {
		allowed[i] = b.Status.DisruptionsAllowed
	}
	for _, pod := range pods {
		violates := false
		for i, b := range budgets {
			if !covers(b, pod.Pod) {
				continue
			}
			if allowed[i]--; allowed[i] < 0 {
				violates = true
			}
		}
		if violates {
			violating = append(violating, pod)
		} else {
			others = append(others, pod)
		}
	}
	return violating, others
}

// covers reports whether a budget protects the pod; one that is counted as disrupted already isn't counted again.
func covers(b *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	if b.Namespace != pod.Namespace || len(pod.Labels) == 0 {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
		return false
	}
	_, disrupted := b.Status.DisruptedPods[pod.Name]
	return !disrupted
}

// pick chooses the node with, in this order: the fewest violations, the least important top victim, the lowest sum of
// priorities, the fewest victims, the latest start of its most important victims.
func pick(candidates []candidate) candidate {
	return slices.MinFunc(candidates, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(a.violations, b.violations),
			cmp.Compare(topPriority(a), topPriority(b)),
			cmp.Compare(sumOfPriorities(a), sumOfPriorities(b)),
			cmp.Compare(len(a.victims), len(b.victims)),
			earliestStart(b).Compare(earliestStart(a)),
		)
	})
}

func topPriority(c candidate) int64 {
	if len(c.victims) == 0 {
		return math.MinInt64
	}
	return int64(c.victims[0].Priority)
}

// sumOfPriorities lifts every priority above zero, so that several victims of negative priority don't look better than one.
func sumOfPriorities(c candidate) int64 {
	var sum int64
	for _, v := range c.victims {
		sum += int64(v.Priority) + math.MaxInt32 + 1
	}
	return sum
}

// earliestStart looks at the victims of the highest priority.
func earliestStart(c candidate) time.Time {
	var earliest time.Time
	for _, v := range c.victims {
		start := startTime(v.Pod)
		if v.Priority == c.victims[0].Priority && (earliest.IsZero() || start.Before(earliest)) {
			earliest = start
		}
	}
	return earliest
}

// evictAll marks every victim as disrupted and deletes it. A victim that is gone already is fine.
func (p *DefaultPreemption) evictAll(ctx context.Context, preemptor *corev1.Pod, victims []*corev1.Pod, node string) error {
	for _, victim := range victims {
		_, err := framework.PatchStatus(ctx, p.client, victim, func(s *corev1.PodStatus) {
			framework.SetCondition(s, corev1.PodCondition{
				Type:               corev1.DisruptionTarget,
				Status:             corev1.ConditionTrue,
				ObservedGeneration: victim.Generation,
				Reason:             corev1.PodReasonPreemptionByScheduler,
				Message:            fmt.Sprintf("%s: preempting to accommodate a higher priority pod", preemptor.Spec.SchedulerName),
			})
		})
		if err == nil {
			err = p.client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, *metav1.NewPreconditionDeleteOptions(string(victim.UID)))
		}
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			continue
		case err != nil:
			return fmt.Errorf("evicting pod %s/%s: %w", victim.Namespace, victim.Name, err)
		}
		klog.FromContext(ctx).V(2).Info("preempted a pod", "victim", klog.KObj(victim), "preemptor", klog.KObj(preemptor), "node", node)
		p.recorder.Eventf(victim, preemptor, corev1.EventTypeNormal, "Preempted", "Preempting", "Preempted by pod %v on node %v", preemptor.UID, node)
	}
	return nil
}
