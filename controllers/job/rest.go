package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// onTheWay answers whether the only news of a status is that pods came or ended, with more of that to be expected.
func onTheWay(before, after batchv1.JobStatus) bool {
	return after.Active > 0 && equality.Semantic.DeepEqual(uncounted(before), uncounted(after))
}

func uncounted(s batchv1.JobStatus) batchv1.JobStatus {
	s.Active, s.Succeeded, s.Failed, s.Ready, s.Terminating = 0, 0, 0, nil, nil
	s.CompletedIndexes, s.FailedIndexes, s.UncountedTerminatedPods = "", nil, nil
	return s
}

// size is the number of pods that the job is about.
func size(job *batchv1.Job, s batchv1.JobStatus) int32 {
	return max(deref(job.Spec.Parallelism), s.Active+deref(s.Terminating))
}

// rest is the plan without what the next status may say as well: ended pods are held until then.
func (p Plan) rest(wait time.Duration) Plan {
	if wait > 0 {
		p.Later, p.After = true, wait
	}
	return p
}
