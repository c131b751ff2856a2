package ttlafterfinished

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEnds(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ttl := int32(60)
	finished := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) *batchv1.Job {
		return &batchv1.Job{Spec: batchv1.JobSpec{TTLSecondsAfterFinished: &ttl}, Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(at)}}}}
	}
	eternal := finished(batchv1.JobComplete, corev1.ConditionTrue)
	eternal.Spec.TTLSecondsAfterFinished = nil
	going := finished(batchv1.JobComplete, corev1.ConditionTrue)
	going.DeletionTimestamp = &metav1.Time{Time: at}
	for name, tt := range map[string]struct {
		job  *batchv1.Job
		want bool
	}{
		"complete": {finished(batchv1.JobComplete, corev1.ConditionTrue), true}, "failed": {finished(batchv1.JobFailed, corev1.ConditionTrue), true},
		"suspended": {finished(batchv1.JobSuspended, corev1.ConditionTrue), false}, "not failed": {finished(batchv1.JobFailed, corev1.ConditionFalse), false},
		"eternal": {eternal, false}, "going": {going, false},
	} {
		if got, ok := Ends(tt.job); ok != tt.want || (ok && !got.Equal(at.Add(time.Minute))) {
			t.Errorf("%s: %s, %v", name, got, ok)
		}
	}
}
