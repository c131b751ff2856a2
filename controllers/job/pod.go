package job

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
)

const indexVariable = "JOB_COMPLETION_INDEX"

// newPod answers a pod of the job, for the given index if it is one. It hands on the counts of the failed pod before it.
func newPod(s Snapshot, plan Plan, index int) *corev1.Pod {
	pod := podset.FromTemplate(&s.Job.Spec.Template, s.Job, owner.NewRef(s.Job, kind()))
	pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	if index == noIndex {
		return pod
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(index)
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(index)
	if s.Job.Spec.BackoffLimitPerIndex != nil {
		count(s.Job, pod, plan.Replaced[index])
	}
	name := fmt.Sprintf("%s-%d", s.Job.Name, index)
	pod.GenerateName = podset.NamePrefix(name)
	if len(validation.IsDNS1123Label(name)) == 0 {
		pod.Spec.Hostname = name
	}
	for i := range pod.Spec.InitContainers {
		tell(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		tell(&pod.Spec.Containers[i])
	}
	return pod
}

// count hands on how often the index has failed.
func count(job *batchv1.Job, pod, before *corev1.Pod) {
	failed, ignored := 0, 0
	if before != nil {
		failed, ignored = failuresOf(before), number(before, ignoredCount)
		if p := (planner{Snapshot: Snapshot{Job: job}}); p.countsAsFailure(before) {
			failed++
		} else {
			ignored++
		}
	}
	pod.Annotations[failureCount] = strconv.Itoa(failed)
	if ignored > 0 {
		pod.Annotations[ignoredCount] = strconv.Itoa(ignored)
	}
}

// tell lets a container know its index, unless its own variable has the name.
func tell(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexVariable }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)},
	}})
}
