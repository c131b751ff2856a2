package scheduler

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// sight is when something of a pod was seen first; zero when it was not.
type sight struct{ created, decided time.Time }

// observer sees the pods of a namespace come and be decided on: bound, or told that no node fits.
type observer struct {
	mu      sync.Mutex
	pods    map[string]sight
	decided int
}

// observe watches a namespace until stop. An informer does, since the API server ends watches of clients that are slow for
// a moment.
func (w *world) observe(t testing.TB, ns string) (o *observer, stop func()) {
	t.Helper()
	o = &observer{pods: map[string]sight{}}
	factory := informers.NewSharedInformerFactoryWithOptions(w.client, 0, informers.WithNamespace(ns))
	see := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok {
			o.see(pod, time.Now())
		}
	}
	informer := factory.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, after any) { see(after) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	if !cache.WaitFor(ctx, "pods", registration.HasSyncedChecker()) {
		t.Fatal("the pods are not seen")
	}
	return o, func() {
		cancel()
		factory.Shutdown()
	}
}

func (o *observer) see(pod *corev1.Pod, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.pods[pod.Name]
	if s.created.IsZero() {
		s.created = now
	}
	if s.decided.IsZero() && decided(pod) {
		s.decided = now
		o.decided++
	}
	o.pods[pod.Name] = s
}

// decided: a pod that waits for its victims to go is not.
func decided(pod *corev1.Pod) bool {
	if pod.Spec.NodeName != "" {
		return true
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return pod.Status.NominatedNodeName == ""
		}
	}
	return false
}

func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.decided
}

// span answers when the first and the last of the pods was decided on.
func (o *observer) span(names []string) (first, last time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		at := o.pods[name].decided
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

// latency is the 99th percentile of the times from creation to decision.
func (o *observer) latency(names []string) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	var took []time.Duration
	for _, name := range names {
		took = append(took, o.pods[name].decided.Sub(o.pods[name].created))
	}
	slices.Sort(took)
	return took[(len(took)*99+99)/100-1]
}
