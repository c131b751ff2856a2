package scheduler

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/klog/v2"
)

// parallelEvents bounds the events that are written at once: bindings matter more.
const parallelEvents = 16

// recorders record events while the scheduler runs, one for each profile. The broadcaster behind them starts goroutines
// when it is made, so it is made by start and not by New.
type recorders struct {
	client kubernetes.Interface
	sink   *sink // made by start
	all    []*recorder
	// lane is for events that happen once.
	lane *lane
}

func newRecorders(client kubernetes.Interface, b *background) *recorders {
	return &recorders{client: client, lane: &lane{background: b, width: parallelEvents}}
}

// recorder reports events under a profile's name.
type recorder struct {
	name, instance string
	recorders      *recorders
	target         atomic.Pointer[events.EventRecorder]
}

// of makes the recorder of a profile.
func (r *recorders) of(name string) *recorder {
	host, _ := os.Hostname() // the recorders of client-go go without one, too
	made := &recorder{name: name, instance: name + "-" + host, recorders: r}
	r.all = append(r.all, made)
	return made
}

// start begins recording; the returned function ends it.
func (r *recorders) start(ctx context.Context) (stop func(), err error) {
	r.sink = &sink{events.EventSinkImpl{Interface: r.client.EventsV1()}, make(chan struct{}, parallelEvents)}
	broadcaster := events.NewBroadcaster(r.sink)
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		broadcaster.Shutdown()
		return nil, fmt.Errorf("starting the event recorder: %w", err)
	}
	for _, one := range r.all {
		var target events.EventRecorder = broadcaster.NewRecorder(scheme.Scheme, one.name)
		one.target.Store(&target)
	}
	return func() {
		for _, one := range r.all {
			one.target.Store(nil)
		}
		broadcaster.Shutdown()
	}, nil
}

// Eventf implements events.EventRecorder.
func (r *recorder) Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	if target := r.target.Load(); target != nil {
		(*target).Eventf(regarding, related, eventtype, reason, action, note, args...)
	}
}

// once reports something normal that happens to a pod once. A broadcaster would keep the event for minutes, in case that
// it is the first of a series.
func (r *recorder) once(pod *corev1.Pod, reason, action, text string) {
	now := time.Now()
	r.recorders.lane.Go(func(ctx context.Context) {
		_, err := r.recorders.sink.EventSinkImpl.Create(ctx, &eventsv1.Event{
			ObjectMeta:          metav1.ObjectMeta{Name: util.GenerateEventName(pod.Name, now.UnixNano()), Namespace: pod.Namespace},
			EventTime:           metav1.NewMicroTime(now),
			ReportingController: r.name,
			ReportingInstance:   r.instance,
			Type:                corev1.EventTypeNormal,
			Reason:              reason,
			Action:              action,
			Note:                note(text),
			Regarding: corev1.ObjectReference{
				APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			},
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown { // no answer: the broadcaster tries again
			r.Eventf(pod, nil, corev1.EventTypeNormal, reason, action, "%s", text)
			return
		}
		klog.FromContext(ctx).V(2).Info("an event is not recorded", "pod", klog.KObj(pod), "reason", reason, "err", err)
	})
}

// sink writes the broadcaster's events, a few at a time.
type sink struct {
	events.EventSinkImpl

	slots chan struct{}
}

// Create implements events.EventSink.
func (s *sink) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	return s.write(ctx, func() (*eventsv1.Event, error) { return s.EventSinkImpl.Create(ctx, event) })
}

// Update implements events.EventSink.
func (s *sink) Update(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	return s.write(ctx, func() (*eventsv1.Event, error) { return s.EventSinkImpl.Update(ctx, event) })
}

// Patch implements events.EventSink.
func (s *sink) Patch(ctx context.Context, event *eventsv1.Event, patch []byte) (*eventsv1.Event, error) {
	return s.write(ctx, func() (*eventsv1.Event, error) { return s.EventSinkImpl.Patch(ctx, event, patch) })
}

// write writes when it is its turn.
func (s *sink) write(ctx context.Context, do func() (*eventsv1.Event, error)) (*eventsv1.Event, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		return do()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to write an event: %w", ctx.Err())
	}
}
