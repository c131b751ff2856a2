package disruption

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func pods(ready, unready int) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range ready + unready {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)}}
		if i < ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		all = append(all, p)
	}
	return all
}

func TestStatus(t *testing.T) {
	least := func(v intstr.IntOrString) policyv1.PodDisruptionBudgetSpec {
		return policyv1.PodDisruptionBudgetSpec{MinAvailable: &v}
	}
	most := func(v intstr.IntOrString) policyv1.PodDisruptionBudgetSpec {
		return policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &v}
	}
	tests := []struct {
		name                       string
		spec                       policyv1.PodDisruptionBudgetSpec
		ready, unready             int
		scale                      int32
		expected, desired, allowed int32
	}{
		{"a number", least(intstr.FromInt32(2)), 3, 0, 0, 3, 2, 1},
		{"a share, rounded up", least(intstr.FromString("50%")), 5, 0, 5, 5, 3, 2},
		{"one may be missing", most(intstr.FromInt32(1)), 3, 0, 3, 3, 2, 1},
		{"one is missing", most(intstr.FromInt32(1)), 2, 1, 3, 3, 2, 0},
		{"fewer than wanted", most(intstr.FromInt32(1)), 2, 0, 4, 4, 3, 0},
		{"more may be missing than there are", most(intstr.FromInt32(9)), 2, 0, 2, 2, 0, 2},
		{"no pods", most(intstr.FromInt32(1)), 0, 0, 0, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := Status(Snapshot{Budget: &policyv1.PodDisruptionBudget{Spec: tt.spec}, Pods: pods(tt.ready, tt.unready), Scale: tt.scale, Now: epoch()})
			if err != nil || got.ExpectedPods != tt.expected || got.DesiredHealthy != tt.desired || got.DisruptionsAllowed != tt.allowed || got.CurrentHealthy != int32(tt.ready) {
				t.Errorf("got %+v, %v", got, err)
			}
			if c := got.Conditions[0]; (c.Status == metav1.ConditionTrue) != (tt.allowed > 0) {
				t.Errorf("condition %+v", c)
			}
		})
	}
}

func TestDisruptedPodsCountAsGoneForAWhile(t *testing.T) {
	one := intstr.FromInt32(1)
	b := &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one}}
	b.Status.DisruptedPods = map[string]metav1.Time{"0": metav1.NewTime(epoch())}
	s := Snapshot{Budget: b, Pods: pods(2, 0), Now: epoch().Add(time.Minute)}
	got, again, err := Status(s)
	if err != nil || got.DisruptionsAllowed != 0 || again != time.Minute || len(Overdue(s)) != 0 {
		t.Errorf("got %+v, again in %s, %v", got, again, err)
	}
	s.Now = epoch().Add(2 * time.Minute)
	if got, again, _ := Status(s); got.DisruptionsAllowed != 1 || again != 0 || len(Overdue(s)) != 1 {
		t.Errorf("after its time: %+v, again in %s", got, again)
	}
}

func TestFailed(t *testing.T) {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 3, CurrentHealthy: 4}
	got := Failed(b, errors.New("no idea"))
	if got.ObservedGeneration != 1 || got.DisruptionsAllowed != 0 || got.CurrentHealthy != 4 {
		t.Errorf("%+v", got)
	}
	if c := got.Conditions[0]; c.Status != metav1.ConditionFalse || c.Reason != "SyncFailed" || c.Message != "no idea" || c.ObservedGeneration != 1 {
		t.Errorf("%+v", c)
	}
}
