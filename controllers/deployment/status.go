package deployment

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/written"
)

const (
	reasonAvailable  = "NewReplicaSetAvailable"
	reasonUpdated    = "ReplicaSetUpdated"
	reasonTimedOut   = "ProgressDeadlineExceeded"
	reasonPaused     = "DeploymentPaused"
	reasonResumed    = "DeploymentResumed"
	reasonCreateFail = "ReplicaSetCreateError"
)

// status counts what the sets report. Conditions are the planner's so far, with Available brought up to date.
func status(p *planner) appsv1.DeploymentStatus {
	all := p.all()
	available := sum(all, availableReplicas)
	s := appsv1.DeploymentStatus{
		ObservedGeneration:  p.d.Generation,
		Replicas:            sum(all, statusReplicas),
		ReadyReplicas:       sum(all, readyReplicas),
		AvailableReplicas:   available,
		UnavailableReplicas: max(0, sum(all, specReplicas)-available),
		TerminatingReplicas: terminating(all),
		CollisionCount:      p.d.Status.CollisionCount,
	}
	if p.current != nil {
		s.UpdatedReplicas = p.current.Status.Replicas
	}
	s.Conditions = append(s.Conditions, p.d.Status.Conditions...)
	c := newCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", p.Now)
	if available >= *p.d.Spec.Replicas-maxUnavailable(p.d) {
		c = newCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", p.Now)
	}
	setCondition(&s, c)
	return s
}

func terminating(sets []*appsv1.ReplicaSet) *int32 {
	var n int32
	for _, set := range sets {
		if set.Status.TerminatingReplicas != nil {
			n += *set.Status.TerminatingReplicas
		}
	}
	return &n
}

// progress completes a status with the conditions Progressing and ReplicaFailure.
func (p *planner) progress(s appsv1.DeploymentStatus) appsv1.DeploymentStatus {
	if p.d.DeletionTimestamp != nil {
		return s
	}
	if !hasDeadline(p.d) {
		dropCondition(&s, appsv1.DeploymentProgressing)
	} else if !p.d.Spec.Paused && p.plan.Create == nil {
		p.judge(&s)
	}
	dropCondition(&s, appsv1.DeploymentReplicaFailure)
	if failure := p.failure(); failure != nil {
		if old := condition(p.Deployment.Status, failure.Type); old != nil && old.Status == failure.Status && old.Reason == failure.Reason {
			failure = old
		}
		s.Conditions = append(s.Conditions, *failure)
	}
	return s
}

func (p *planner) judge(s *appsv1.DeploymentStatus) {
	before := condition(p.Deployment.Status, appsv1.DeploymentProgressing)
	if s.Replicas == s.UpdatedReplicas && before != nil && before.Reason == reasonAvailable {
		return // a complete deployment's replicas may come and go without being a rollout
	}
	subject := fmt.Sprintf("Deployment %q", p.d.Name)
	if p.current != nil {
		subject = fmt.Sprintf("ReplicaSet %q", p.current.Name)
	}
	switch {
	case complete(p.d, *s):
		setCondition(s, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, subject+" has successfully progressed.", p.Now))
	case progressing(p.Deployment.Status, *s):
		c := newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, subject+" is progressing.", p.Now)
		if before != nil && before.Status == corev1.ConditionTrue {
			c.LastTransitionTime = before.LastTransitionTime
		}
		dropCondition(s, appsv1.DeploymentProgressing) // each step of progress renews the time that the deadline counts from
		setCondition(s, c)
	case timedOut(p.d, *s, p.Now):
		setCondition(s, newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, subject+" has timed out progressing.", p.Now))
	}
}

// failure answers the first failure of the current set, or else of any.
func (p *planner) failure() *appsv1.DeploymentCondition {
	sets := p.all()
	if p.current != nil {
		sets = append([]*appsv1.ReplicaSet{p.current}, sets...)
	}
	for _, set := range sets {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}

// notePause stops and restarts the clock of the progress deadline.
func (p *planner) notePause() {
	c := condition(p.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(p.d) || (c != nil && c.Reason == reasonTimedOut) {
		return
	}
	paused := c != nil && c.Reason == reasonPaused
	switch {
	case p.d.Spec.Paused && !paused:
		p.setProgressing(corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !p.d.Spec.Paused && paused:
		p.setProgressing(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

func (p *planner) setProgressing(status corev1.ConditionStatus, reason, format string, args ...any) {
	setCondition(&p.d.Status, newCondition(appsv1.DeploymentProgressing, status, reason, fmt.Sprintf(format, args...), p.Now))
}

// complete answers whether every desired pod is of the current template and available, and no other exists.
func complete(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

// onTheWay answers whether the only news of a status is that pods came or went, with more of that to be expected.
func onTheWay(before, after *appsv1.Deployment) bool {
	s := after.Status
	if complete(after, s) && (s.TerminatingReplicas == nil || *s.TerminatingReplicas == 0) {
		return false
	}
	return equality.Semantic.DeepEqual(before.Annotations, after.Annotations) &&
		equality.Semantic.DeepEqual(uncounted(before.Status), uncounted(s))
}

// uncounted is a status without numbers of pods, and without the time of a condition that changes with them.
func uncounted(s appsv1.DeploymentStatus) appsv1.DeploymentStatus {
	s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas, s.TerminatingReplicas = 0, 0, 0, 0, 0, nil
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		s.Conditions[i].LastUpdateTime = metav1.Time{}
	}
	slices.SortFunc(s.Conditions, func(a, b appsv1.DeploymentCondition) int { return strings.Compare(string(a.Type), string(b.Type)) })
	return s
}

// rest is how long news of pods on their way waits for more.
func rest(d *appsv1.Deployment, s appsv1.DeploymentStatus) time.Duration {
	before, pods := d.Status, max(*d.Spec.Replicas, s.Replicas)
	for _, leaving := range []*int32{s.TerminatingReplicas, before.TerminatingReplicas} {
		if leaving != nil {
			pods = max(pods, *leaving)
		}
	}
	news := max(s.AvailableReplicas-before.AvailableReplicas, s.UpdatedReplicas-before.UpdatedReplicas)
	before.TerminatingReplicas = s.TerminatingReplicas
	if equality.Semantic.DeepEqual(before, s) {
		return written.RestOfLeaving(pods)
	}
	return written.Rest(pods, news)
}

func progressing(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, s appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(s, appsv1.DeploymentProgressing)
	switch {
	case c == nil || c.Reason == reasonAvailable:
		return false
	case c.Reason == reasonTimedOut:
		return true
	}
	return c.LastUpdateTime.Add(deadline(d)).Before(now)
}

// stuckAfter answers when to look again whether the deadline has passed; 0 for never.
func stuckAfter(d *appsv1.Deployment, now time.Time) time.Duration {
	c := condition(d.Status, appsv1.DeploymentProgressing)
	if c == nil || !hasDeadline(d) || d.Spec.Paused || complete(d, d.Status) || c.Reason == reasonTimedOut || c.Reason == reasonAvailable {
		return 0
	}
	return max(time.Second, c.LastUpdateTime.Add(deadline(d)).Sub(now)+time.Second)
}

// hasDeadline treats the largest number as none.
func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != maxInt32
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

func newCondition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) appsv1.DeploymentCondition {
	at := metav1.NewTime(now)
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: at, LastTransitionTime: at}
}

func condition(s appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition changes nothing when status and reason stay the same, so times tell when something happened.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	old := condition(*s, c.Type)
	if old != nil && old.Status == c.Status && old.Reason == c.Reason {
		return
	}
	if old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	dropCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func dropCondition(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	var rest []appsv1.DeploymentCondition
	for _, c := range s.Conditions {
		if c.Type != kind {
			rest = append(rest, c)
		}
	}
	s.Conditions = rest
}

// CreateFailed answers the deployment's status after the creation of its new set was refused.
func CreateFailed(d *appsv1.Deployment, set string, failure error, now time.Time) *appsv1.Deployment {
	d = d.DeepCopy()
	if hasDeadline(d) {
		c := newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonCreateFail, fmt.Sprintf("Failed to create new replica set %q: %v", set, failure), now)
		setCondition(&d.Status, c)
	}
	return d
}

// Collided answers the deployment's status after another set was found under the new set's name.
func Collided(d *appsv1.Deployment) *appsv1.Deployment {
	d = d.DeepCopy()
	var n int32
	if d.Status.CollisionCount != nil {
		n = *d.Status.CollisionCount
	}
	n++
	d.Status.CollisionCount = &n
	return d
}
