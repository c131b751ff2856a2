package events

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func TestConversionRoundTrip(t *testing.T) {
	text := rapid.StringMatching("[a-zA-Z ]{0,20}")
	rapid.Check(t, func(t *rapid.T) {
		in := &corev1.Event{
			InvolvedObject: corev1.ObjectReference{Kind: text.Draw(t, "kind"), Name: text.Draw(t, "name")},
			Reason:         text.Draw(t, "reason"), Message: text.Draw(t, "message"), Type: text.Draw(t, "type"),
			Source: corev1.EventSource{Component: text.Draw(t, "component"), Host: text.Draw(t, "host")},
			Count:  rapid.Int32().Draw(t, "count"), Action: text.Draw(t, "action"),
			EventTime:           metav1.MicroTime{Time: time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, "time"))},
			ReportingController: text.Draw(t, "controller"), ReportingInstance: text.Draw(t, "instance"),
		}
		if rapid.Bool().Draw(t, "series") {
			in.Series = &corev1.EventSeries{Count: rapid.Int32().Draw(t, "times"), LastObservedTime: in.EventTime}
		}
		var v1 eventsv1.Event
		var out corev1.Event
		if err := fromCore(in, &v1); err != nil {
			t.Fatal(err)
		}
		if err := toCore(&v1, &out); err != nil {
			t.Fatal(err)
		}
		if !equality.Semantic.DeepEqual(in, &out) {
			t.Fatalf("changed on the way:\n%+v\n%+v", in, out)
		}
	})
}

func TestValidate(t *testing.T) {
	valid := func() *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"},
			EventTime: metav1.MicroTime{Time: time.Unix(1, 0)}, Type: "Normal", Reason: "R", Action: "A",
			ReportingController: "example.org/c", ReportingInstance: "c-0",
		}
	}
	for name, c := range map[string]struct {
		change func(*corev1.Event)
		update bool
		want   string
	}{
		"valid":               {func(*corev1.Event) {}, false, ""},
		"old style":           {func(e *corev1.Event) { e.Count = 1 }, false, "count: Invalid value: \"\": needs to be unset"},
		"other namespace":     {func(e *corev1.Event) { e.InvolvedObject.Namespace = "x"; e.EventTime = metav1.MicroTime{} }, false, "does not match event.namespace"},
		"single series":       {func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 1, LastObservedTime: e.EventTime} }, false, "should be at least 2"},
		"repeated":            {func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 2, LastObservedTime: e.EventTime} }, true, ""},
		"rewritten":           {func(e *corev1.Event) { e.Reason = "Other" }, true, "field is immutable"},
		"within precision":    {func(e *corev1.Event) { e.EventTime.Time = e.EventTime.Add(time.Nanosecond) }, true, ""},
		"beyond microseconds": {func(e *corev1.Event) { e.EventTime.Time = e.EventTime.Add(time.Microsecond) }, true, "eventTime"},
	} {
		t.Run(name, func(t *testing.T) {
			e, old := valid(), (*corev1.Event)(nil)
			if c.update {
				old = valid()
				e.ResourceVersion, old.ResourceVersion = "1", "1"
			}
			c.change(e)
			got := validateEvent(context.Background(), e, old).ToAggregate()
			if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
				t.Fatalf("got %v, want %q", got, c.want)
			}
		})
	}
}
