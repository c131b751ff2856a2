package scheduler

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// assume records the decision before the API knows it, and takes what the pod needs on the node.
func (s *Scheduler) assume(ctx context.Context, a *attempt, node string) *failure {
	pod, none := a.queued.Info, ""
	if err := s.cache.Assume(pod.WithNode(node), node); err != nil {
		return &failure{status: framework.AsStatus(err), nominate: &none}
	}
	status := a.profile.Reserve(ctx, a.cycle, node)
	if status.IsSuccess() {
		if status = a.profile.Permit(ctx, a.cycle, node); status.IsSuccess() || status.IsWait() {
			a.held = status.IsWait()
			s.nominator.Remove(pod.Pod.UID)
			a.profile.Decided(a.cycle)
			return nil
		}
		a.profile.Unreserve(ctx, a.cycle, node)
	}
	s.cache.Forget(pod.Pod.UID)
	return rejected(status, node)
}

// rejected explains a rejection that came after the node was chosen.
func rejected(status *framework.Status, node string) *failure {
	none := ""
	f := &failure{status: status, diagnosis: framework.NewDiagnosis(), nominate: &none}
	if !status.IsRejected() {
		return f
	}
	f.diagnosis.Nodes.Set(node, status)
	f.diagnosis.AddPlugin(status)
	f.status = framework.NewStatus(status.Code()).WithError(&framework.FitError{NumAllNodes: 1, Diagnosis: f.diagnosis})
	return f
}

// carryOut has the decision carried out beside the loop: at once, or when what has to be awaited before has come.
func (s *Scheduler) carryOut(ctx context.Context, a *attempt, node string) {
	log := klog.FromContext(ctx)
	bind := func(ctx context.Context) { s.bind(klog.NewContext(ctx, log), a, node) }
	work := a.profile.PreBindPreFlight(ctx, a.cycle, node)
	if !a.held && work.IsSkip() {
		s.queue.Decided(a.queued.Info.Pod.UID)
		s.bindings.Go(bind)
		return
	}
	s.background.Go(func(ctx context.Context) {
		ctx = klog.NewContext(ctx, log)
		if !work.IsSkip() && !work.IsSuccess() {
			s.unbind(ctx, a, node, work)
			return
		}
		if s.prepare(ctx, a, node) {
			s.bindings.Go(bind)
		}
	})
}

// prepare waits for permission and does what comes before binding, and reports whether the pod can be bound. Meanwhile
// the pod's status tells others (autoscalers, say) where it is about to go (KEP-5278).
func (s *Scheduler) prepare(ctx context.Context, a *attempt, node string) bool {
	pod := a.queued.Info.Pod
	s.writer.patch(ctx, pod, &statusChange{nominate: &node})
	status := a.profile.WaitOnPermit(ctx, a.queued.Info)
	if status.IsSuccess() {
		s.queue.Decided(pod.UID)
		status = a.profile.PreBind(ctx, a.cycle, node)
	}
	if a.prepared = status.IsSuccess(); !a.prepared {
		s.unbind(ctx, a, node, status)
	}
	return a.prepared
}

// bind writes the decision. When that fails it is taken back and the pod queued again.
func (s *Scheduler) bind(ctx context.Context, a *attempt, node string) {
	s.metrics.goroutines.WithLabelValues("binding").Inc()
	defer s.metrics.goroutines.WithLabelValues("binding").Dec()
	pod := a.queued.Info.Pod
	var status *framework.Status
	if !a.prepared { // there is nothing to do, which metrics tell
		status = a.profile.PreBind(ctx, a.cycle, node)
	}
	if status.IsSuccess() {
		status = s.write(ctx, a, node)
	}
	if !status.IsSuccess() {
		s.unbind(ctx, a, node, status)
		return
	}
	s.queue.Done(pod.UID)
	a.profile.PostBind(ctx, a.cycle, node)
	s.metrics.scheduled(a)
	klog.FromContext(ctx).V(2).Info("bound the pod", "node", node)
	a.profile.recorder.once(pod, "Scheduled", "Binding", fmt.Sprintf("Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, node))
}

// unbind takes a decision back.
func (s *Scheduler) unbind(ctx context.Context, a *attempt, node string, status *framework.Status) {
	pod := a.queued.Info.Pod
	a.profile.Unreserve(ctx, a.cycle, node)
	s.cache.Forget(pod.UID)
	s.queue.Move(framework.Change{
		Event: framework.ClusterEvent{Resource: framework.AssignedPod, Action: framework.Delete, Label: "AssignedPodDelete"}, Old: pod,
	})
	s.fail(ctx, a, rejected(status, node))
}

// fail queues the pod again and tells its user why it has no node.
func (s *Scheduler) fail(ctx context.Context, a *attempt, f *failure) {
	if ctx.Err() != nil {
		s.queue.Done(a.queued.Info.Pod.UID)
		return
	}
	p, reason := a.queued, corev1.PodReasonSchedulerError
	p.UnschedulablePlugins, p.PendingPlugins = f.diagnosis.UnschedulablePlugins, f.diagnosis.PendingPlugins
	if f.status.IsRejected() {
		reason = corev1.PodReasonUnschedulable
	}
	s.metrics.failed(a.profile.Name(), reason, time.Since(a.start))
	pod, msg := p.Info.Pod, f.status.Message()
	log := klog.FromContext(ctx)
	if reason == corev1.PodReasonSchedulerError {
		log.Error(f.status.Err(), "scheduling the pod failed, it is tried again")
	} else {
		log.V(2).Info("no node fits the pod, it waits", "reason", msg)
	}
	info := p.Info
	if f.nominate != nil {
		s.nominator.Nominate(info, *f.nominate)
	}
	if !s.queue.Requeue(p) {
		s.nominator.Remove(pod.UID)
		return
	}
	a.profile.recorder.Eventf(pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", note(msg))
	s.writer.write(pod, statusChange{nominate: f.nominate, condition: &corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, ObservedGeneration: pod.Generation, Reason: reason, Message: msg,
	}})
}

// maxNote is the longest note the events API takes, in bytes.
const maxNote = 1024

func note(msg string) string {
	const more = " ..."
	if len(msg) <= maxNote {
		return msg
	}
	return fmt.Sprintf("%s%s", msg[:maxNote-len(more)], more)
}
