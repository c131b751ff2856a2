// Package events defines the resources of the events.k8s.io API group.
//
// An event is one object that two groups serve: it is kept as a core/v1 Event
// under the core group's key, and this group shows it in its own form.
package events

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

// lifetime is how long events are kept.
const lifetime = time.Hour

// Resources lists what the group serves.
func Resources() []resource.Resource { return []resource.Resource{events()} }

// coreStored keeps a resource of this group where core keeps its events.
type coreStored struct {
	resource.Definition[*corev1.Event]
}

// Storage implements resource.Resource.
func (c coreStored) Storage(s *runtime.Scheme, opts generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	return c.Definition.Storage(s, coreOptions{opts})
}

// coreOptions answers the storage options of core's events for any resource.
type coreOptions struct{ generic.RESTOptionsGetter }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (c coreOptions) GetRESTOptions(_ schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	return c.RESTOptionsGetter.GetRESTOptions(corev1.Resource("events"), example)
}

func events() coreStored {
	return coreStored{resource.Definition[*corev1.Event]{
		Resource:   eventsv1.SchemeGroupVersion.WithResource("events"),
		Kind:       "Event",
		Singular:   "event",
		ShortNames: []string{"ev"},
		Object:     &corev1.Event{},
		List:       &corev1.EventList{},
		Versions: []resource.Version{
			resource.NewVersion(eventsv1.SchemeGroupVersion, &eventsv1.EventList{}, toCore, fromCore),
		},
		Validate:     validateEvent,
		Fields:       fieldsOf,
		FieldAliases: aliases(),
		Columns:      columns(),
		Collect:      rest.Unsupported,
		Store: func(s *registry.Store) error {
			s.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return uint64(lifetime / time.Second), nil }
			return nil
		},
		CreateOnUpdate: true,
	}}
}

func fieldsOf(e *corev1.Event) fields.Set {
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

// aliases maps the group's own names of selectable fields to core's.
func aliases() map[string]string {
	out := map[string]string{"reportingController": "reportingComponent"}
	for _, f := range []string{"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"} {
		out["regarding."+f] = "involvedObject." + f
	}
	return out
}
