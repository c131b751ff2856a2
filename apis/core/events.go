package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

// eventLifetime is how long events are kept.
const eventLifetime = time.Hour

func events() resource.Resource {
	return resource.Definition[*corev1.Event]{
		Resource:       corev1.SchemeGroupVersion.WithResource("events"),
		Kind:           "Event",
		Singular:       "event",
		ShortNames:     []string{"ev"},
		Object:         &corev1.Event{},
		List:           &corev1.EventList{},
		Validate:       validateEvent,
		Fields:         eventFields,
		Columns:        eventColumns(),
		Collect:        rest.Unsupported,
		CreateOnUpdate: true,
		Store: func(s *registry.Store) error {
			s.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return uint64(eventLifetime / time.Second), nil }
			return nil
		},
	}
}

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

func eventColumns() []resource.Column[*corev1.Event] {
	doc := corev1.Event{}.SwaggerDoc()
	name := resource.NameColumn[*corev1.Event]()
	name.Priority = 1
	return []resource.Column[*corev1.Event]{
		{Name: "Last Seen", Type: "string", Help: doc["lastTimestamp"], Value: func(e *corev1.Event) any { return eventLast(e) }},
		{Name: "Type", Type: "string", Help: doc["type"], Value: func(e *corev1.Event) any { return e.Type }},
		{Name: "Reason", Type: "string", Help: doc["reason"], Value: func(e *corev1.Event) any { return e.Reason }},
		{Name: "Object", Type: "string", Help: doc["involvedObject"], Value: eventObject},
		{Name: "Subobject", Type: "string", Priority: 1, Help: corev1.ObjectReference{}.SwaggerDoc()["fieldPath"], Value: func(e *corev1.Event) any { return e.InvolvedObject.FieldPath }},
		{Name: "Source", Type: "string", Priority: 1, Help: doc["source"], Value: eventSource},
		{Name: "Message", Type: "string", Help: doc["message"], Value: func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }},
		{Name: "First Seen", Type: "string", Priority: 1, Help: doc["firstTimestamp"], Value: func(e *corev1.Event) any { return eventFirst(e) }},
		{Name: "Count", Type: "string", Priority: 1, Help: doc["count"], Value: eventCount},
		name,
		resource.NoAge[*corev1.Event](),
	}
}

func eventObject(e *corev1.Event) any {
	if e.InvolvedObject.Name == "" {
		return strings.ToLower(e.InvolvedObject.Kind)
	}
	return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
}

func eventSource(e *corev1.Event) any {
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
	return fmt.Sprintf("%s, %s", component, host)
}

func eventFirst(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return microAge(e.EventTime)
	}
	return resource.Age(e.FirstTimestamp)
}

func eventLast(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return microAge(e.Series.LastObservedTime)
	case e.LastTimestamp.IsZero():
		return eventFirst(e)
	}
	return resource.Age(e.LastTimestamp)
}

func eventCount(e *corev1.Event) any {
	switch {
	case e.Series != nil:
		return int64(e.Series.Count)
	case e.Count == 0:
		return int64(1)
	}
	return int64(e.Count)
}

func microAge(t metav1.MicroTime) string { return resource.Age(metav1.Time{Time: t.Time}) }
