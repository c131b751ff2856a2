package scheduler

import (
	"context"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// parallelWrites bounds the status writes under way at once.
const parallelWrites = 16

// statusChange is what an attempt has to say in a pod's status.
type statusChange struct {
	condition *corev1.PodCondition // nil leaves it
	// nominate is the new nominated node; nil leaves it.
	nominate *string
}

// statusWriter writes pod statuses beside the loop: one write at a time per pod, in order, the newest only.
type statusWriter struct {
	s     *Scheduler
	slots chan struct{}
	mu    sync.Mutex
	// pending holds, for every pod with a write under way, the change to write next, if any.
	pending map[types.UID]*statusChange
	// written holds pods as the API answered the last write, until the informer has them as new.
	written map[types.UID]*corev1.Pod
}

func newStatusWriter(s *Scheduler) *statusWriter {
	return &statusWriter{
		s: s, slots: make(chan struct{}, parallelWrites),
		pending: map[types.UID]*statusChange{}, written: map[types.UID]*corev1.Pod{},
	}
}

// write has the change written. It may be called by the loop and by background work.
func (w *statusWriter) write(pod *corev1.Pod, change statusChange) {
	w.mu.Lock()
	next, busy := w.pending[pod.UID]
	if busy {
		if next != nil && change.nominate == nil {
			change.nominate = next.nominate
		}
		w.pending[pod.UID] = &change
		w.mu.Unlock()
		return
	}
	w.pending[pod.UID] = nil
	w.mu.Unlock()
	w.s.background.Go(func(ctx context.Context) { w.run(ctx, pod, &change) })
}

// run writes until nothing is pending for the pod.
func (w *statusWriter) run(ctx context.Context, pod *corev1.Pod, change *statusChange) {
	for change != nil {
		select {
		case w.slots <- struct{}{}:
			w.patch(ctx, pod, change)
			<-w.slots
		case <-ctx.Done():
		}
		w.mu.Lock()
		change = w.pending[pod.UID]
		if change == nil || ctx.Err() != nil {
			delete(w.pending, pod.UID)
			change = nil
		} else {
			w.pending[pod.UID] = nil
		}
		w.mu.Unlock()
	}
}

func (w *statusWriter) patch(ctx context.Context, pod *corev1.Pod, change *statusChange) {
	now, err := framework.PatchStatus(ctx, w.s.client, w.newest(pod), func(status *corev1.PodStatus) {
		if change.condition != nil {
			framework.SetCondition(status, *change.condition)
		}
		if change.nominate != nil {
			status.NominatedNodeName = *change.nominate
		}
	})
	switch {
	case err == nil:
		w.mu.Lock()
		w.written[pod.UID] = now
		w.mu.Unlock()
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), ctx.Err() != nil:
	default:
		klog.FromContext(ctx).Error(err, "writing the pod's status", "pod", klog.KObj(pod))
	}
}

// newest answers the newest version known of a pod: the informer's, or that of our last write.
func (w *statusWriter) newest(pod *corev1.Pod) *corev1.Pod {
	if cached, err := w.s.pods.Pods(pod.Namespace).Get(pod.Name); err == nil && cached.UID == pod.UID {
		pod = cached
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if written := w.written[pod.UID]; written != nil {
		if version(written) > version(pod) {
			return written
		}
		delete(w.written, pod.UID)
	}
	return pod
}

func version(pod *corev1.Pod) uint64 {
	v, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// forget drops what is kept for a pod that is placed or gone.
func (w *statusWriter) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.written, uid)
}
