package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"
)

// The waits between attempts to write a status that failed.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 10 * time.Second
)

// writers is how many requests are under way at most.
const writers = 8

// Writer writes statuses to the API.
type Writer struct {
	client typedcorev1.PodsGetter
	wake   chan struct{}

	mu    sync.Mutex
	pods  map[types.UID]*entry
	queue []types.UID
}

// entry is one pod. Base is the status that the API is known to have.
type entry struct {
	pod            *corev1.Pod
	base           *corev1.PodStatus
	want           corev1.PodStatus
	final          bool
	dirty, working bool
	deleted        bool
	delay          time.Duration
}

// NewWriter makes a writer. Run must run for anything to be written.
func NewWriter(client typedcorev1.PodsGetter) *Writer {
	return &Writer{client: client, wake: make(chan struct{}, 1), pods: map[types.UID]*entry{}}
}

// Set queues a status. final says that nothing of the pod runs any more: if the pod is being deleted, its object goes.
func (w *Writer) Set(pod *corev1.Pod, status corev1.PodStatus, final bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.pods[pod.UID]
	if e == nil {
		base := pod.Status
		e = &entry{base: &base}
		w.pods[pod.UID] = e
	}
	e.pod, e.want, e.final = pod, status, final
	if !e.needed() {
		return
	}
	w.enqueue(pod.UID, e)
}

// Status answers the status that was set last.
func (w *Writer) Status(uid types.UID) (corev1.PodStatus, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.pods[uid]; e != nil {
		return e.want, true
	}
	return corev1.PodStatus{}, false
}

// Forget drops what is known of a pod that no longer exists.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
}

func (e *entry) needed() bool {
	return !equality.Semantic.DeepEqual(*e.base, e.want) || e.mayDelete()
}

func (e *entry) mayDelete() bool { return e.final && e.pod.DeletionTimestamp != nil && !e.deleted }

func (w *Writer) enqueue(uid types.UID, e *entry) {
	if e.dirty {
		return
	}
	e.dirty = true
	if e.working {
		return
	}
	w.queue = append(w.queue, uid)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	slots := make(chan struct{}, writers)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		for uid, ok := w.next(); ok; uid, ok = w.next() {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			workers.Go(func() {
				defer func() { <-slots }()
				w.write(ctx, uid)
			})
		}
	}
}

func (w *Writer) next() (types.UID, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		uid := w.queue[0]
		w.queue = w.queue[1:]
		if e := w.pods[uid]; e != nil && e.dirty && !e.working {
			e.dirty, e.working = false, true
			return uid, true
		}
	}
	return "", false
}

// write brings one pod up to date and queues it again when it changed meanwhile or failed.
func (w *Writer) write(ctx context.Context, uid types.UID) {
	w.mu.Lock()
	e := w.pods[uid]
	if e == nil {
		w.mu.Unlock()
		return
	}
	pod, base, want, mayDelete := e.pod, *e.base, e.want, e.mayDelete()
	w.mu.Unlock()

	got, err := w.patch(ctx, pod, base, want)
	if err == nil && mayDelete {
		err = w.delete(ctx, pod)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	e.working = false
	switch {
	case err == nil:
		e.base, e.delay = &got, 0
		e.deleted = e.deleted || mayDelete
	case apierrors.IsNotFound(err):
		delete(w.pods, uid)
		return
	case ctx.Err() != nil:
		return
	default:
		klog.FromContext(ctx).Error(err, "Could not write a pod's status", "pod", klog.KObj(pod))
		e.delay = min(max(2*e.delay, retryFirst), retryMost)
		again := e.delay
		time.AfterFunc(again, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if still := w.pods[uid]; still == e {
				e.dirty = false
				w.enqueue(uid, e)
			}
		})
		return
	}
	if e.dirty {
		e.dirty = false
		w.enqueue(uid, e)
	}
}

// patch sends what differs between base and want, and answers the status to compare the next one with.
func (w *Writer) patch(ctx context.Context, pod *corev1.Pod, base, want corev1.PodStatus) (corev1.PodStatus, error) {
	if equality.Semantic.DeepEqual(base, want) {
		return want, nil
	}
	before, err := json.Marshal(&corev1.Pod{Status: ownOnly(base)})
	if err != nil {
		return base, fmt.Errorf("encoding the status of pod %s: %w", klog.KObj(pod), err)
	}
	after, err := json.Marshal(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: ownOnly(want)})
	if err != nil {
		return base, fmt.Errorf("encoding the status of pod %s: %w", klog.KObj(pod), err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, &corev1.Pod{})
	if err != nil {
		return base, fmt.Errorf("making the patch of pod %s: %w", klog.KObj(pod), err)
	}
	_, err = w.client.Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsConflict(err) {
		// The patch names the UID: the name belongs to another pod by now.
		return base, apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	if err != nil {
		return base, fmt.Errorf("patching the status of pod %s: %w", klog.KObj(pod), err)
	}
	return want, nil
}

// ownOnly leaves out the conditions that others write, so that a stale view of them is never written back.
func ownOnly(status corev1.PodStatus) corev1.PodStatus {
	status.Conditions = slices.DeleteFunc(slices.Clone(status.Conditions), func(c corev1.PodCondition) bool { return !slices.Contains(own, c.Type) })
	return status
}

// delete removes the pod's object, provided that it still is this pod.
func (w *Writer) delete(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	err := w.client.Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	if apierrors.IsConflict(err) {
		return nil // the name belongs to another pod by now
	}
	return fmt.Errorf("deleting pod %s: %w", klog.KObj(pod), err)
}
