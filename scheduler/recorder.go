package scheduler

import (
	"context"
	"fmt"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
)

// recorders record events while the scheduler runs, one for each profile. The broadcaster behind them starts goroutines
// when it is made, so it is made by start and not by New.
type recorders struct {
	client kubernetes.Interface
	all    []*recorder
}

// recorder reports events under a profile's name.
type recorder struct {
	name   string
	target atomic.Pointer[events.EventRecorder]
}

// of makes the recorder of a profile.
func (r *recorders) of(name string) *recorder {
	made := &recorder{name: name}
	r.all = append(r.all, made)
	return made
}

// start begins recording; the returned function ends it.
func (r *recorders) start(ctx context.Context) (stop func(), err error) {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: r.client.EventsV1()})
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
