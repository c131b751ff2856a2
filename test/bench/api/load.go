// Package api compares the API server of skiff with kube-apiserver and etcd.
package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"skiff/test/bench/sides"
)

// client is one connection to a side in one encoding.
func client(s *sides.Side, encoding string) (*kubernetes.Clientset, error) {
	config, err := s.Config()
	if err != nil {
		return nil, err
	}
	config.ContentType = encoding
	config.AcceptContentTypes = encoding
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// Encodings of requests and answers.
const (
	protobuf = runtime.ContentTypeProtobuf
	json     = runtime.ContentTypeJSON
)

// call does something to the pod with the number given, which no other call has.
type call func(ctx context.Context, pods typedcorev1.PodInterface, number int) error

func podName(number int) string { return "web-6d4cf56db6-" + strconv.Itoa(number) }

func create(ctx context.Context, pods typedcorev1.PodInterface, number int) error {
	_, err := pods.Create(ctx, newPod(podName(number)), metav1.CreateOptions{})
	return err
}

// update reads a pod, outside of what is measured if it was read before, and replaces it.
func update(read []corev1.Pod) call {
	return func(ctx context.Context, pods typedcorev1.PodInterface, number int) error {
		pod := &read[number]
		pod.Annotations["deployed-at"] = strconv.FormatInt(time.Now().UnixNano(), 10)
		got, err := pods.Update(ctx, pod, metav1.UpdateOptions{})
		if err == nil {
			*pod = *got
		}
		return err
	}
}

// patch reports a status as a kubelet does.
func patch(ctx context.Context, pods typedcorev1.PodInterface, number int) error {
	body := fmt.Sprintf(`{"status":{"phase":"Running","hostIP":"192.0.2.10","podIP":"10.244.0.7","conditions":[{"type":"Ready","status":"True","message":"%d"}]}}`, time.Now().UnixNano())
	_, err := pods.Patch(ctx, podName(number), types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status")
	return err
}

func get(ctx context.Context, pods typedcorev1.PodInterface, number int) error {
	_, err := pods.Get(ctx, podName(number), metav1.GetOptions{})
	return err
}

func remove(ctx context.Context, pods typedcorev1.PodInterface, number int) error {
	return pods.Delete(ctx, podName(number), metav1.DeleteOptions{})
}

// list reads all pods of the namespace, of which there must be want.
func list(want int) call {
	return func(ctx context.Context, pods typedcorev1.PodInterface, _ int) error {
		got, err := pods.List(ctx, metav1.ListOptions{})
		if err == nil && len(got.Items) != want {
			err = fmt.Errorf("%d pods in the list, not %d", len(got.Items), want)
		}
		return err
	}
}

// run makes the calls with the numbers from to to-1, shared out between the
// clients, and answers how long each took.
func run(ctx context.Context, clients []*kubernetes.Clientset, namespace string, from, to int, do call) ([]time.Duration, error) {
	took := make([]time.Duration, to-from)
	errs := make([]error, len(clients))
	var next atomic.Int64
	next.Store(int64(from))
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			pods := c.CoreV1().Pods(namespace)
			for number := int(next.Add(1)) - 1; number < to && errs[i] == nil; number = int(next.Add(1)) - 1 {
				began := time.Now()
				errs[i] = do(ctx, pods, number)
				took[number-from] = time.Since(began)
			}
		})
	}
	group.Wait()
	slices.Sort(took)
	return took, errors.Join(errs...)
}

// watchers are clients that watch a namespace, each over its own connection.
type watchers struct {
	stop   []watch.Interface
	events atomic.Int64
	change chan struct{}
	group  sync.WaitGroup
}

func startWatchers(ctx context.Context, s *sides.Side, encoding, namespace string, n int) (*watchers, error) {
	w := &watchers{change: make(chan struct{}, 1)}
	for range n {
		c, err := client(s, encoding)
		if err != nil {
			return w, err
		}
		// From now on: without the objects that exist.
		list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return w, err
		}
		stream, err := c.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return w, err
		}
		w.stop = append(w.stop, stream)
		w.group.Go(func() { w.count(stream) })
	}
	return w, nil
}

func (w *watchers) count(stream watch.Interface) {
	for e := range stream.ResultChan() {
		if e.Type != watch.Modified {
			continue
		}
		w.events.Add(1)
		select {
		case w.change <- struct{}{}:
		default:
		}
	}
}

// await returns when all watchers together have seen n events.
func (w *watchers) await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for int(w.events.Load()) < n {
		select {
		case <-w.change:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events seen: %w", w.events.Load(), n, ctx.Err())
		}
	}
	return nil
}

func (w *watchers) end() {
	for _, s := range w.stop {
		s.Stop()
	}
	w.group.Wait()
}
