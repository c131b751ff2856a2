package job

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// The annotations in which an index's pods hand on how often it has failed, and how often that was ignored.
const (
	failureCount = batchv1.JobIndexFailureCountAnnotation
	ignoredCount = batchv1.JobIndexIgnoredFailureCountAnnotation
)

// action answers what the job's pod failure policy says about a failed pod; "" without a matching rule.
func (p *planner) action(pod *corev1.Pod) (batchv1.PodFailurePolicyAction, string) {
	if p.Job.Spec.PodFailurePolicy == nil {
		return "", ""
	}
	for i, rule := range p.Job.Spec.PodFailurePolicy.Rules {
		switch {
		case rule.OnExitCodes != nil:
			if c := exited(pod, rule.OnExitCodes); c != nil {
				return rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
					c.Name, pod.Namespace, pod.Name, c.State.Terminated.ExitCode, rule.Action, i)
			}
		case matchesCondition(pod, rule.OnPodConditions) != "":
			return rule.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d",
				pod.Namespace, pod.Name, matchesCondition(pod, rule.OnPodConditions), rule.Action, i)
		}
	}
	return "", ""
}

func exited(pod *corev1.Pod, want *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			if c.State.Terminated == nil || c.State.Terminated.ExitCode == 0 || (want.ContainerName != nil && *want.ContainerName != c.Name) {
				continue
			}
			if slices.Contains(want.Values, c.State.Terminated.ExitCode) == (want.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return c
			}
		}
	}
	return nil
}

func matchesCondition(pod *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) corev1.PodConditionType {
	for _, c := range pod.Status.Conditions {
		for _, want := range patterns {
			if c.Type == want.Type && c.Status == want.Status {
				return c.Type
			}
		}
	}
	return ""
}

func (p *planner) countsAsFailure(pod *corev1.Pod) bool {
	action, _ := p.action(pod)
	return action != batchv1.PodFailurePolicyActionIgnore
}

// policyFailsJob answers the message of the first pod whose failure ends the job.
func (p *planner) policyFailsJob() (string, bool) {
	for _, pod := range p.Pods {
		if pod.Status.Phase != corev1.PodFailed || !tracked(pod) {
			continue
		}
		if action, message := p.action(pod); action == batchv1.PodFailurePolicyActionFailJob {
			return message, true
		}
	}
	return "", false
}

// failIndex gives up an index whose pods failed too often, or in a way that the policy forbids to repeat.
func (p *planner) failIndex(pod *corev1.Pod, index int) {
	if p.Job.Spec.BackoffLimitPerIndex == nil || p.completed.has(index) {
		return
	}
	action, _ := p.action(pod)
	if action == batchv1.PodFailurePolicyActionIgnore {
		return
	}
	if action == batchv1.PodFailurePolicyActionFailIndex || failuresOf(pod) >= int(*p.Job.Spec.BackoffLimitPerIndex) {
		p.failed.add(index)
	}
}

// failuresOf answers how often the index had failed before the pod.
func failuresOf(pod *corev1.Pod) int { return number(pod, failureCount) }

// attempts answers how often that was, ignored failures included.
func attempts(pod *corev1.Pod) int { return failuresOf(pod) + number(pod, ignoredCount) }

func number(pod *corev1.Pod, annotation string) int {
	n, err := strconv.ParseInt(pod.Annotations[annotation], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}

// indexesFailed answers the end of a job with indexes that were given up: when there are too many of them, or when the
// others are done.
func (p *planner) indexesFailed() *batchv1.JobCondition {
	if p.Job.Spec.BackoffLimitPerIndex == nil || p.failed.len() == 0 {
		return nil
	}
	if most := p.Job.Spec.MaxFailedIndexes; most != nil && p.failed.len() > int(*most) {
		return p.condition(batchv1.JobFailureTarget, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	}
	if p.failed.len()+p.completed.len() >= int(*p.Job.Spec.Completions) {
		return p.condition(batchv1.JobFailureTarget, batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	}
	return nil
}

// succeeds answers the first rule of the success policy that is met.
func (p *planner) succeeds() (int, bool) {
	if p.Job.Spec.SuccessPolicy == nil {
		return 0, false
	}
	for i, rule := range p.Job.Spec.SuccessPolicy.Rules {
		done := p.completed
		total := int(deref(p.Job.Spec.Completions))
		if rule.SucceededIndexes != nil {
			of := parse(*rule.SucceededIndexes, total)
			done, total = p.completed.and(of), of.len()
		}
		if rule.SucceededCount != nil {
			total = int(*rule.SucceededCount)
		}
		if done.len() >= total {
			return i, true
		}
	}
	return 0, false
}
