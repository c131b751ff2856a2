package cronjob

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 0, 30, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

func newCronJob(schedule string, change ...func(*batchv1.CronJob)) *batchv1.CronJob {
	c := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "nightly", CreationTimestamp: metav1.NewTime(epoch())},
		Spec:       batchv1.CronJobSpec{Schedule: schedule, SuccessfulJobsHistoryLimit: ptr[int32](1), FailedJobsHistoryLimit: ptr[int32](1)},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func job(name string, end batchv1.JobConditionType, started time.Duration) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Status: batchv1.JobStatus{StartTime: &metav1.Time{Time: epoch().Add(started)}}}
	if end != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: end, Status: corev1.ConditionTrue}}
		j.Status.CompletionTime = &metav1.Time{Time: epoch().Add(started + time.Minute)}
	}
	return j
}

func active(names ...string) func(*batchv1.CronJob) {
	return func(c *batchv1.CronJob) {
		for _, n := range names {
			c.Status.Active = append(c.Status.Active, corev1.ObjectReference{Name: n, UID: types.UID(n)})
		}
	}
}

func TestStart(t *testing.T) {
	policy := func(p batchv1.ConcurrencyPolicy) func(*batchv1.CronJob) {
		return func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = p }
	}
	due := epoch().Truncate(time.Minute).Add(time.Minute)
	tests := []struct {
		name   string
		cron   *batchv1.CronJob
		after  time.Duration
		start  bool
		note   string
		delete int
	}{
		{"not yet", newCronJob("* * * * *"), 10 * time.Second, false, "", 0},
		{"due", newCronJob("* * * * *"), 40 * time.Second, true, "", 0},
		{"suspended", newCronJob("* * * * *", func(c *batchv1.CronJob) { c.Spec.Suspend = ptr(true) }), 40 * time.Second, false, "", 0},
		{"started already", newCronJob("* * * * *", func(c *batchv1.CronJob) { c.Status.LastScheduleTime = &metav1.Time{Time: due} }), 40 * time.Second, false, "", 0},
		{"too late", newCronJob("0 * * * *", func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr[int64](10) }), 61 * time.Minute, false, "", 0},
		{"unreadable", newCronJob("whenever"), time.Hour, false, "UnparseableSchedule", 0},
		{"of no day", newCronJob("59 23 31 2 *"), time.Hour, false, "InvalidSchedule", 0},
		{"of no place", newCronJob("* * * * *", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr("Nowhere/Land") }), time.Hour, false, "UnknownTimeZone", 0},
		{"beside another", newCronJob("* * * * *", active("a"), policy(batchv1.AllowConcurrent)), 40 * time.Second, true, "", 0},
		{"after another", newCronJob("* * * * *", active("a"), policy(batchv1.ForbidConcurrent)), 40 * time.Second, false, "JobAlreadyActive", 0},
		{"instead of another", newCronJob("* * * * *", active("a"), policy(batchv1.ReplaceConcurrent)), 40 * time.Second, true, "", 1},
		{"of very many", newCronJob("* * * * *"), 200 * time.Minute, true, "TooManyMissedTimes", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Snapshot{CronJob: tt.cron, Now: epoch().Add(tt.after)}
			if len(tt.cron.Status.Active) > 0 {
				s.Jobs = []*batchv1.Job{job("a", "", 0)}
			}
			plan := NewPlan(s)
			note := ""
			if len(plan.Notes) > 0 {
				note = plan.Notes[0].Reason
			}
			if (plan.Start != nil) != tt.start || note != tt.note || len(plan.Delete) != tt.delete {
				t.Errorf("start %v, note %q, delete %d", plan.Start, note, len(plan.Delete))
			}
			if plan.Start != nil && (plan.Start.After(s.Now) || s.Now.Sub(*plan.Start) >= time.Minute) {
				t.Errorf("starts for %s at %s", plan.Start, s.Now)
			}
		})
	}
}

func TestTidiesUp(t *testing.T) {
	c := newCronJob("0 0 1 1 *", active("done", "gone", "runs"))
	plan := NewPlan(Snapshot{CronJob: c, Now: epoch().Add(time.Minute), Jobs: []*batchv1.Job{
		job("old", batchv1.JobComplete, -time.Hour), job("done", batchv1.JobComplete, 0), job("runs", "", 0), job("bad", batchv1.JobFailed, 0), job("worse", batchv1.JobFailed, -time.Minute),
	}})
	if len(plan.Status.Active) != 1 || plan.Status.Active[0].Name != "runs" {
		t.Errorf("active: %+v", plan.Status.Active)
	}
	if len(plan.Delete) != 2 || plan.Delete[0].Name != "old" || plan.Delete[1].Name != "worse" {
		t.Errorf("deletes %d", len(plan.Delete))
	}
	if at := plan.Status.LastSuccessfulTime; at == nil || !at.Time.Equal(epoch().Add(time.Minute)) {
		t.Errorf("last success %v", at)
	}
}

func TestTimeZone(t *testing.T) {
	c := newCronJob("0 9 * * *", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr("Asia/Tokyo") })
	plan := NewPlan(Snapshot{CronJob: c, Now: epoch()})
	if next := epoch().Add(plan.After - slack); next.UTC().Hour() != 0 {
		t.Errorf("nine in Tokyo is %s", next.UTC())
	}
}

// The jump over a long gap finds the time that counting would find.
func TestLatest(t *testing.T) {
	for _, text := range []string{"* * * * *", "*/7 * * * *", "30 2 * * 1", "0 0 29 2 *", "0 0 1 1 *", "@hourly"} {
		times, err := cron.ParseStandard(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, gap := range []time.Duration{0, time.Minute, 90 * time.Minute, 30 * time.Hour, 200 * 24 * time.Hour} {
			now := epoch().Add(gap)
			var want time.Time
			for next := times.Next(epoch()); !next.After(now); next = times.Next(next) {
				want = next
			}
			if got, _ := latest(times, epoch(), now); !got.Equal(want) {
				t.Errorf("%q after %s: %s, want %s", text, gap, got, want)
			}
		}
	}
}
