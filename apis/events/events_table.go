package events

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/apis/resource"
)

func columns() []resource.Column[*corev1.Event] {
	type E = *corev1.Event
	doc := corev1.Event{}.SwaggerDoc()
	name := resource.NameColumn[E]()
	name.Priority = 1
	return []resource.Column[E]{
		{Name: "Last Seen", Type: "string", Help: doc["lastTimestamp"], Value: func(e E) any { return lastSeen(e) }},
		{Name: "Type", Type: "string", Help: doc["type"], Value: func(e E) any { return e.Type }},
		{Name: "Reason", Type: "string", Help: doc["reason"], Value: func(e E) any { return e.Reason }},
		{Name: "Object", Type: "string", Help: doc["involvedObject"], Value: func(e E) any {
			if e.InvolvedObject.Name == "" {
				return strings.ToLower(e.InvolvedObject.Kind)
			}
			return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
		}},
		{Name: "Subobject", Type: "string", Priority: 1, Help: corev1.ObjectReference{}.SwaggerDoc()["fieldPath"], Value: func(e E) any { return e.InvolvedObject.FieldPath }},
		{Name: "Source", Type: "string", Priority: 1, Help: doc["source"], Value: func(e E) any { return sourceOf(e) }},
		{Name: "Message", Type: "string", Help: doc["message"], Value: func(e E) any { return strings.TrimSpace(e.Message) }},
		{Name: "First Seen", Type: "string", Priority: 1, Help: doc["firstTimestamp"], Value: func(e E) any { return firstSeen(e) }},
		{Name: "Count", Type: "string", Priority: 1, Help: doc["count"], Value: func(e E) any { return countOf(e) }},
		name,
		resource.NoAge[E](),
	}
}

func firstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return resource.Age(metav1.Time{Time: e.EventTime.Time})
	}
	return resource.Age(e.FirstTimestamp)
}

func lastSeen(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return resource.Age(metav1.Time{Time: e.Series.LastObservedTime.Time})
	case e.LastTimestamp.IsZero():
		return firstSeen(e)
	}
	return resource.Age(e.LastTimestamp)
}

func countOf(e *corev1.Event) int64 {
	switch {
	case e.Series != nil:
		return int64(e.Series.Count)
	case e.Count == 0:
		return 1
	}
	return int64(e.Count)
}

func sourceOf(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component = e.ReportingController
	}
	if host == "" {
		host = e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}
