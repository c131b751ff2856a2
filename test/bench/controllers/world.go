// Package controllers compares skiff's controllers with kube-controller-manager, each as a process of its own with an
// API server of skiff's, skiff's scheduler and simulated nodes.
package controllers

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/kubelet/hollow"
	"skiff/scheduler"
	"skiff/test/bench/sides"
)

const (
	nodes       = 20
	podsPerNode = "1000"
	// quiet is how long nothing must be written until a story's writes are counted.
	quiet = 3 * time.Second
	poll  = 20 * time.Millisecond
)

// world is an API server with nodes and a scheduler, but without controllers.
type world struct {
	api    *sides.Side
	client kubernetes.Interface
	own    tally // writes by nodes, scheduler and the benchmark itself
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{api: sides.Skiff(t, "--api-only")}
	config, err := w.api.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next: next, writes: &w.own} })
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	w.populate(t, config)
	return w
}

// populate runs nodes and a scheduler until the test ends.
func (w *world) populate(t testing.TB, config *rest.Config) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	capacity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse(podsPerNode)}
	hollows, err := hollow.New(hollow.Config{Count: nodes, Capacity: capacity, Version: "v1.37.2"}, hollow.Deps{Client: client, Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	sched, err := scheduler.New(scheduler.Config{}, scheduler.Deps{Client: client, Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	factory.StartWithContext(ctx)
	ended := make(chan error, 2)
	for _, run := range []func(context.Context) error{hollows.Run, sched.Run} {
		go func() { ended <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	w.await(t, "nodes", time.Minute, func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready := 0
		for i := range list.Items {
			if len(list.Items[i].Status.Conditions) > 0 {
				ready++
			}
		}
		return ready == nodes, nil
	})
}

// settled waits until nobody writes any more and answers the controllers' writes.
func (w *world) settled(t testing.TB) writes {
	t.Helper()
	var last writes
	since := time.Now()
	w.await(t, "quiet", 5*time.Minute, func(ctx context.Context) (bool, error) {
		n, err := w.writes(ctx)
		if err != nil {
			return false, err
		}
		if !maps.Equal(n, last) {
			last, since = n, time.Now()
		}
		return time.Since(since) >= quiet, nil
	})
	return last
}

// await polls until done says so.
func (w *world) await(t testing.TB, what string, limit time.Duration, done func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var last error
	for {
		ok, err := done(ctx)
		if ok && err == nil {
			return
		}
		if last = err; ctx.Err() == nil && err != nil {
			t.Logf("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not reached within %s: %v", what, limit, last)
		case <-tick.C:
		}
	}
}
