// Package events records Kubernetes events for many identities with one goroutine.
//
// A Recorder drops events instead of blocking its controller when the server cannot keep up, and it aggregates,
// counts and limits repeated events as client-go's correlator does. Nothing is started before Sink.Run.
package events

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// queued bounds the events waiting to be written; more are dropped.
const queued = 1024

// Sink writes the events of all its recorders.
type Sink struct {
	clock clock.Clock
	queue chan item
}

type item struct {
	recorder *Recorder
	event    *corev1.Event
}

// NewSink answers a sink that has not been started.
func NewSink(c clock.Clock) *Sink {
	return &Sink{clock: c, queue: make(chan item, queued)}
}

// Recorder answers a recorder whose events say component and are written by client.
func (s *Sink) Recorder(client kubernetes.Interface, component string) *Recorder {
	return &Recorder{
		sink: s, client: client, component: component,
		correlator: record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{Clock: s.clock}),
	}
}

// Run writes events until ctx ends.
func (s *Sink) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case it := <-s.queue:
			if err := it.recorder.write(ctx, it.event); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).V(2).Info("event lost", "reason", it.event.Reason, "object", klog.KRef(it.event.Namespace, it.event.InvolvedObject.Name), "error", err)
			}
		}
	}
}

// Recorder implements record.EventRecorder.
type Recorder struct {
	sink       *Sink
	client     kubernetes.Interface
	component  string
	correlator *record.EventCorrelator
}

var _ record.EventRecorder = (*Recorder)(nil)

// Event records a message about object.
func (r *Recorder) Event(object runtime.Object, eventType, reason, message string) {
	r.record(object, nil, eventType, reason, message)
}

// Eventf is Event with a format.
func (r *Recorder) Eventf(object runtime.Object, eventType, reason, format string, args ...any) {
	r.record(object, nil, eventType, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf is Eventf with annotations on the event.
func (r *Recorder) AnnotatedEventf(object runtime.Object, annotations map[string]string, eventType, reason, format string, args ...any) {
	r.record(object, annotations, eventType, reason, fmt.Sprintf(format, args...))
}

func (r *Recorder) record(object runtime.Object, annotations map[string]string, eventType, reason, message string) {
	ref, err := reference.GetReference(scheme.Scheme, object)
	if err != nil {
		return // an object without identity can have no event
	}
	event := newEvent(ref, r.sink.clock.Now())
	event.Annotations = annotations
	event.Type, event.Reason, event.Message = eventType, reason, message
	event.Source = corev1.EventSource{Component: r.component}
	event.ReportingController = r.component
	select {
	case r.sink.queue <- item{r, event}:
	default:
	}
}

func newEvent(ref *corev1.ObjectReference, now time.Time) *corev1.Event {
	at := metav1.NewTime(now)
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", ref.Name, now.UnixNano()), Namespace: namespace},
		InvolvedObject: *ref, FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

func (r *Recorder) write(ctx context.Context, event *corev1.Event) error {
	result, err := r.correlator.EventCorrelate(event)
	if err != nil || result.Skip {
		return err
	}
	event = result.Event
	var written *corev1.Event
	events := r.client.CoreV1().Events(event.Namespace)
	if event.Count > 1 {
		written, err = events.Patch(ctx, event.Name, types.StrategicMergePatchType, result.Patch, metav1.PatchOptions{})
	}
	if event.Count <= 1 || apierrors.IsNotFound(err) {
		event.ResourceVersion = ""
		written, err = events.Create(ctx, event, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing event: %w", err)
	}
	r.correlator.UpdateState(written)
	return nil
}
