// Package replicas keeps a number of equal pods running: the algorithm of ReplicaSet and ReplicationController, which
// differ only in their kind.
package replicas

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff/controllers/internal/batch"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

// Snapshot is what a plan is made from.
type Snapshot struct {
	// Set is the desired state; a ReplicationController is shown as the equivalent ReplicaSet.
	Set *appsv1.ReplicaSet
	// Pods are the pods the set controls, in a fixed order.
	Pods []*corev1.Pod
	// Related are the pods of all sets with the same owner; they decide which pods are doubled up on a node.
	Related []*corev1.Pod
	// Terminating says that the kind's status counts terminating pods.
	Terminating bool
	Now         time.Time
}

// Plan is how to get nearer to the desired number of pods.
type Plan struct {
	Create int
	Delete []*corev1.Pod
}

// NewPlan never creates and deletes at once, and never more than batch.Burst pods. A set being deleted is left alone.
func NewPlan(s Snapshot) Plan {
	if s.Set.DeletionTimestamp != nil {
		return Plan{}
	}
	active := podset.Select(s.Pods, podset.Active)
	missing := int(*s.Set.Spec.Replicas) - len(active)
	if missing >= 0 {
		return Plan{Create: min(missing, batch.Burst)}
	}
	return Plan{Delete: doomed(active, s.Related, min(-missing, batch.Burst), s.Now)}
}

func doomed(active, related []*corev1.Pod, count int, now time.Time) []*corev1.Pod {
	if count >= len(active) {
		return active
	}
	perNode := map[string]int{}
	for _, p := range related {
		if podset.Active(p) {
			perNode[p.Spec.NodeName]++
		}
	}
	ranked := make([]podset.Ranked, len(active))
	for i, p := range active {
		ranked[i] = podset.Ranked{Pod: p, Rank: perNode[p.Spec.NodeName]}
	}
	podset.SortForDeletion(ranked, now)
	doomed := make([]*corev1.Pod, count)
	for i := range doomed {
		doomed[i] = ranked[i].Pod
	}
	return doomed
}

// Status answers the status of the snapshot after a plan was applied with failure, which may be nil.
func Status(s Snapshot, plan Plan, failure error) appsv1.ReplicaSetStatus {
	status := *s.Set.Status.DeepCopy()
	status.ObservedGeneration = s.Set.Generation
	status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0, 0
	template := labels.SelectorFromSet(s.Set.Spec.Template.Labels)
	terminating := int32(0)
	for _, p := range s.Pods {
		if podset.Terminating(p) {
			terminating++
		}
		if !podset.Active(p) {
			continue
		}
		status.Replicas++
		count(&status.FullyLabeledReplicas, template.Matches(labels.Set(p.Labels)))
		count(&status.ReadyReplicas, podset.Ready(p))
		count(&status.AvailableReplicas, podset.Available(p, s.Set.Spec.MinReadySeconds, s.Now))
	}
	if s.Terminating {
		status.TerminatingReplicas = &terminating
	}
	status.Conditions = conditions(status.Conditions, plan, failure, s.Now)
	return status
}

func count(n *int32, yes bool) {
	if yes {
		*n++
	}
}

// conditions adds ReplicaFailure with the first failure and removes it after a success.
func conditions(old []appsv1.ReplicaSetCondition, plan Plan, failure error, now time.Time) []appsv1.ReplicaSetCondition {
	var rest []appsv1.ReplicaSetCondition
	for _, c := range old {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			rest = append(rest, c)
		} else if failure != nil {
			return old
		}
	}
	if failure == nil {
		return rest
	}
	reason := "FailedCreate"
	if plan.Create == 0 {
		reason = "FailedDelete"
	}
	return append(rest, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: failure.Error(),
	})
}

// onTheWay answers whether the only news of a status is that pods have come nearer to what is desired without all being
// there, so that more such news is to be expected.
func onTheWay(set *appsv1.ReplicaSet, after appsv1.ReplicaSetStatus) bool {
	before, want := set.Status, *set.Spec.Replicas
	if after.ReadyReplicas < before.ReadyReplicas || after.AvailableReplicas < before.AvailableReplicas {
		return false
	}
	if after.Replicas == want && after.AvailableReplicas == want && terminating(after) == 0 {
		return false
	}
	return SameStatus(uncounted(before), uncounted(after))
}

// uncounted is a status without numbers of pods, and without the generation that they are counted for.
func uncounted(s appsv1.ReplicaSetStatus) appsv1.ReplicaSetStatus {
	s.ObservedGeneration = 0
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.TerminatingReplicas = 0, 0, 0, 0, nil
	return s
}

func terminating(s appsv1.ReplicaSetStatus) int32 {
	if s.TerminatingReplicas == nil {
		return 0
	}
	return *s.TerminatingReplicas
}

// rest is how long news of pods on their way waits for more.
func rest(set *appsv1.ReplicaSet, after appsv1.ReplicaSetStatus) time.Duration {
	before, pods := set.Status, max(*set.Spec.Replicas, after.Replicas+terminating(after))
	news := max(after.AvailableReplicas-before.AvailableReplicas, after.ReadyReplicas-before.ReadyReplicas)
	before.TerminatingReplicas = after.TerminatingReplicas
	if SameStatus(before, after) {
		return written.RestOfLeaving(max(pods, terminating(set.Status)))
	}
	return written.Rest(pods, news)
}

// SameStatus answers whether writing the new status would change nothing.
func SameStatus(before, after appsv1.ReplicaSetStatus) bool {
	return equality.Semantic.DeepEqual(before, after)
}
