package batch

import (
	"context"
	"math"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"
)

func TestJobDefaults(t *testing.T) {
	five := int32(5)
	for name, c := range map[string]struct {
		spec                 batchv1.JobSpec
		completions, backoff int32 // completions of -1: none
		replace              batchv1.PodReplacementPolicy
	}{
		"nothing":        {batchv1.JobSpec{}, 1, 6, batchv1.TerminatingOrFailed},
		"work queue":     {batchv1.JobSpec{Parallelism: &five}, -1, 6, batchv1.TerminatingOrFailed},
		"per index":      {batchv1.JobSpec{BackoffLimitPerIndex: &five}, 1, math.MaxInt32, batchv1.TerminatingOrFailed},
		"failure policy": {batchv1.JobSpec{PodFailurePolicy: &batchv1.PodFailurePolicy{}}, 1, 6, batchv1.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			j := &batchv1.Job{Spec: c.spec}
			j.Spec.Template.Labels = map[string]string{"a": "b"}
			defaultJob(j)
			got := int32(-1)
			if j.Spec.Completions != nil {
				got = *j.Spec.Completions
			}
			if got != c.completions || *j.Spec.BackoffLimit != c.backoff || *j.Spec.PodReplacementPolicy != c.replace || j.Labels["a"] != "b" {
				t.Fatalf("completions %d, backoff %d, replace %s, labels %v", got, *j.Spec.BackoffLimit, *j.Spec.PodReplacementPolicy, j.Labels)
			}
		})
	}
}

// A defaulted job selects its own pods, and is then valid; one whose labels
// claim another job's pods is not.
func TestGeneratedSelector(t *testing.T) {
	job := func(labels map[string]string) *batchv1.Job {
		j := &batchv1.Job{}
		j.Name, j.UID = "j", "u"
		j.Spec.Template.Labels = labels
		j.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
		defaultJob(j)
		prepareJob(context.Background(), j, nil)
		return j
	}
	if errs := validateJob(context.Background(), job(nil), nil); len(errs) > 0 {
		t.Fatal(errs)
	}
	errs := validateJob(context.Background(), job(map[string]string{batchv1.ControllerUidLabel: "other"}), nil)
	if err := errs.ToAggregate(); err == nil || !strings.Contains(err.Error(), "must be 'u'") {
		t.Fatalf("got %v", err)
	}
}

func TestCountIndexes(t *testing.T) {
	for text, want := range map[string]struct {
		total int32
		err   string
	}{
		"": {0, ""}, "0": {1, ""}, "0,2-4": {4, ""}, "1-1": {0, "non-increasing order, previous: 1, current: 1"},
		"3,2": {0, "non-increasing order"}, "10": {0, `too large index: "10"`}, "0-10": {0, "too large"}, "1-2-3": {0, "at most two parts"},
		"x": {0, `cannot convert string to integer for index: "x"`}, "99999999999": {0, "too large"},
	} {
		total, err := countIndexes(text, 10)
		if total != want.total || (err == nil) != (want.err == "") || (err != nil && !strings.Contains(err.Error(), want.err)) {
			t.Errorf("%q: got %d, %v; want %d, %q", text, total, err, want.total, want.err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[0-9,-]{0,12}`).Draw(t, "text")
		if total, err := countIndexes(text, 10); err == nil && (total < 0 || total > 10) {
			t.Fatalf("%q: %d of 10", text, total)
		}
	})
}

func TestSchedules(t *testing.T) {
	zone := "Europe/Berlin"
	at := field.NewPath("schedule")
	for name, c := range map[string]struct {
		spec batchv1.CronJobSpec
		want string
	}{
		"plain":     {batchv1.CronJobSpec{Schedule: "*/5 * * * *"}, ""},
		"macro":     {batchv1.CronJobSpec{Schedule: "@daily"}, ""},
		"short":     {batchv1.CronJobSpec{Schedule: "* *"}, "expected exactly 5 fields"},
		"own zone":  {batchv1.CronJobSpec{Schedule: "TZ=UTC 0 0 * * *"}, "use timeZone field instead"},
		"two zones": {batchv1.CronJobSpec{Schedule: "TZ=UTC 0 0 * * *", TimeZone: &zone}, "cannot use both"},
	} {
		got := validateSchedule(&c.spec, false, at).ToAggregate()
		if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
}
