package cronjob

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// manyMissed is how many missed times are told of.
	manyMissed = 100
	// slack makes sure that the time has come when the key is looked at again.
	slack = 100 * time.Millisecond
)

// Snapshot is what a plan is made from.
type Snapshot struct {
	CronJob *batchv1.CronJob
	// Jobs are the jobs that the cron job controls.
	Jobs []*batchv1.Job
	Now  time.Time
}

// Plan is what to do.
type Plan struct {
	// Delete are finished jobs beyond the history, and running ones that are replaced.
	Delete []*batchv1.Job
	// Start, if set, is the scheduled time of the job to create.
	Start *time.Time
	// Status is the status but for the job to be created.
	Status batchv1.CronJobStatus
	Notes  []Note
	// After, if not 0, is when the next time comes.
	After time.Duration
}

// Note is an event to record.
type Note struct{ Type, Reason, Message string }

func (p *Plan) note(kind, reason, format string, args ...any) {
	p.Notes = append(p.Notes, Note{kind, reason, fmt.Sprintf(format, args...)})
}

// NewPlan tidies up after finished jobs and decides whether one is due.
func NewPlan(s Snapshot) Plan {
	plan := Plan{Status: *s.CronJob.Status.DeepCopy()}
	track(s, &plan)
	expire(s, &plan)
	if s.CronJob.DeletionTimestamp != nil || (s.CronJob.Spec.Suspend != nil && *s.CronJob.Spec.Suspend) {
		return plan
	}
	schedule(s, &plan)
	return plan
}

// track brings the list of active jobs up to date.
func track(s Snapshot, plan *Plan) {
	known := map[types.UID]*batchv1.Job{}
	for _, j := range s.Jobs {
		known[j.UID] = j
		listed := isActive(plan.Status, j.UID)
		end, finished := finishedAs(j)
		switch {
		case !listed && !finished:
			plan.note(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
		case listed && finished:
			drop(&plan.Status, j.UID)
			plan.note(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, end)
		}
		if done := j.Status.CompletionTime; finished && end == batchv1.JobComplete && done != nil &&
			(plan.Status.LastSuccessfulTime == nil || plan.Status.LastSuccessfulTime.Before(done)) {
			plan.Status.LastSuccessfulTime = done
		}
	}
	for _, ref := range slices.Clone(plan.Status.Active) {
		if _, ok := known[ref.UID]; !ok {
			plan.note(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
			drop(&plan.Status, ref.UID)
		}
	}
}

func isActive(s batchv1.CronJobStatus, uid types.UID) bool {
	return slices.ContainsFunc(s.Active, func(r corev1.ObjectReference) bool { return r.UID == uid })
}

func drop(s *batchv1.CronJobStatus, uid types.UID) {
	s.Active = slices.DeleteFunc(slices.Clone(s.Active), func(r corev1.ObjectReference) bool { return r.UID == uid })
}

func finishedAs(j *batchv1.Job) (batchv1.JobConditionType, bool) {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type, true
		}
	}
	return "", false
}

// expire deletes the oldest finished jobs beyond the two limits.
func expire(s Snapshot, plan *Plan) {
	for kind, limit := range map[batchv1.JobConditionType]*int32{
		batchv1.JobComplete: s.CronJob.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: s.CronJob.Spec.FailedJobsHistoryLimit,
	} {
		var jobs []*batchv1.Job
		for _, j := range s.Jobs {
			if end, ok := finishedAs(j); ok && end == kind && j.DeletionTimestamp == nil {
				jobs = append(jobs, j)
			}
		}
		if limit == nil || len(jobs) <= int(*limit) {
			continue
		}
		slices.SortFunc(jobs, byStart)
		plan.Delete = append(plan.Delete, jobs[:len(jobs)-int(*limit)]...)
	}
	slices.SortFunc(plan.Delete, byStart)
}

func byStart(a, b *batchv1.Job) int {
	x, y := a.Status.StartTime, b.Status.StartTime
	switch {
	case x == nil && y != nil:
		return 1
	case x != nil && y == nil:
		return -1
	case x != nil && !x.Equal(y):
		return x.Compare(y.Time)
	}
	return strings.Compare(a.Name, b.Name)
}

// read answers the schedule in its time zone, or what is wrong with it.
func read(c *batchv1.CronJob, now time.Time) (cron.Schedule, *Note) {
	text := c.Spec.Schedule
	if zone := c.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			return nil, &Note{corev1.EventTypeWarning, "UnknownTimeZone", fmt.Sprintf("invalid timeZone: %q: %s", *zone, err)}
		}
		text = "TZ=" + *zone + " " + text
	}
	times, err := cron.ParseStandard(text)
	if err != nil {
		return nil, &Note{corev1.EventTypeWarning, "UnparseableSchedule", fmt.Sprintf("unparseable schedule: %q : %s", c.Spec.Schedule, err)}
	}
	if times.Next(now).IsZero() { // there is no such day
		return nil, &Note{corev1.EventTypeWarning, "InvalidSchedule",
			fmt.Sprintf("invalid schedule: %s : time difference between two schedules is less than 1 second", c.Spec.Schedule)}
	}
	return times, nil
}

func schedule(s Snapshot, plan *Plan) {
	c := s.CronJob
	times, problem := read(c, s.Now)
	if problem != nil {
		plan.Notes = append(plan.Notes, *problem)
		return // only a change of the spec helps
	}
	plan.After = times.Next(s.Now).Add(slack).Sub(s.Now)
	due, missed := latest(times, earliest(c, s.Now), s.Now)
	if missed > manyMissed {
		plan.note(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if due.IsZero() || (c.Status.LastScheduleTime != nil && c.Status.LastScheduleTime.Equal(&metav1.Time{Time: due})) {
		return
	}
	if deadline := c.Spec.StartingDeadlineSeconds; deadline != nil && due.Add(time.Duration(*deadline)*time.Second).Before(s.Now) {
		plan.note(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	begin(s, plan, due)
}

// begin starts a job unless the policy has another one go first.
func begin(s Snapshot, plan *Plan, due time.Time) {
	name := JobName(s.CronJob, due)
	if slices.ContainsFunc(plan.Status.Active, func(r corev1.ObjectReference) bool { return r.Name == name }) {
		return
	}
	switch {
	case s.CronJob.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(plan.Status.Active) > 0:
		plan.note(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return
	case s.CronJob.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent:
		for _, j := range s.Jobs {
			if isActive(plan.Status, j.UID) {
				plan.Delete = append(plan.Delete, j)
				drop(&plan.Status, j.UID)
			}
		}
	}
	plan.Start = &due
}

// earliest answers the time after which a missed start is still made up for.
func earliest(c *batchv1.CronJob, now time.Time) time.Time {
	from := c.CreationTimestamp.Time
	if c.Status.LastScheduleTime != nil {
		from = c.Status.LastScheduleTime.Time
	}
	if c.Spec.StartingDeadlineSeconds != nil {
		if limit := now.Add(-time.Duration(*c.Spec.StartingDeadlineSeconds) * time.Second); limit.After(from) {
			return limit
		}
	}
	return from
}

// latest answers the last scheduled time after from and not after now, zero without one, and about how many there
// were. It jumps over the middle of a long gap: a cron job may have been suspended for years.
func latest(times cron.Schedule, from, now time.Time) (time.Time, int64) {
	first := times.Next(from)
	if first.IsZero() || first.After(now) {
		return time.Time{}, 0
	}
	second := times.Next(first)
	if second.IsZero() || second.After(now) {
		return first, 1
	}
	missed := int64(now.Sub(first)/second.Sub(first)) + 1
	start := first
	for window := second.Sub(first) * 2; ; window *= 2 { // a window back from now that contains a time
		begin := now.Add(-window)
		if !begin.After(first) {
			break
		}
		if t := times.Next(begin); !t.IsZero() && !t.After(now) {
			start = t
			break
		}
	}
	for next := times.Next(start); !next.IsZero() && !next.After(now); next = times.Next(next) {
		start = next
	}
	return start, missed
}

// JobName answers the name of the job of a scheduled time, so that one time never starts two.
func JobName(c *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, due.Unix()/60)
}
