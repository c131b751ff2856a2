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

// recorder records events while the scheduler runs. The broadcaster behind it starts goroutines when it is made, so it is
// made by start and not by New.
type recorder struct {
	name   string
	client kubernetes.Interface
	target atomic.Pointer[events.EventRecorder]
}

// start begins recording; the returned function ends it.
func (r *recorder) start(ctx context.Context) (stop func(), err error) {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: r.client.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		broadcaster.Shutdown()
		return nil, fmt.Errorf("starting the event recorder: %w", err)
	}
	var target events.EventRecorder = broadcaster.NewRecorder(scheme.Scheme, r.name)
	r.target.Store(&target)
	return func() {
		r.target.Store(nil)
		broadcaster.Shutdown()
	}, nil
}

// Eventf implements events.EventRecorder.
func (r *recorder) Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	if target := r.target.Load(); target != nil {
		(*target).Eventf(regarding, related, eventtype, reason, action, note, args...)
	}
}
