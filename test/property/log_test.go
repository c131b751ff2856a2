package property

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// version is one version of an object, or its end.
type version struct {
	number int64
	gone   bool
	object metav1.Object
}

// history is every version of every object of a namespace. Followers append to it; entries are read once all is quiet.
type history struct {
	mu       sync.Mutex
	versions []version
	// disturbed are the pods that the history itself deleted.
	disturbed map[types.UID]bool
	changed   chan struct{}
}

// kinds are followed, with what lists and watches them.
func kinds(client kubernetes.Interface, namespace string) map[string]kind {
	core, apps, batch := client.CoreV1(), client.AppsV1(), client.BatchV1()
	return map[string]kind{
		"pods":         of(core.Pods(namespace).List, core.Pods(namespace).Watch),
		"deployments":  of(apps.Deployments(namespace).List, apps.Deployments(namespace).Watch),
		"replicasets":  of(apps.ReplicaSets(namespace).List, apps.ReplicaSets(namespace).Watch),
		"statefulsets": of(apps.StatefulSets(namespace).List, apps.StatefulSets(namespace).Watch),
		"daemonsets":   of(apps.DaemonSets(namespace).List, apps.DaemonSets(namespace).Watch),
		"jobs":         of(batch.Jobs(namespace).List, batch.Jobs(namespace).Watch),
	}
}

// kind lists and watches the objects of a kind.
type kind struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func of[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error), follow func(context.Context, metav1.ListOptions) (watch.Interface, error)) kind {
	return kind{func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) }, follow}
}

// follow notes what happens in the namespace from version on, until stop is called.
func follow(t testing.TB, client kubernetes.Interface, namespace, from string) (h *history, stop func()) {
	h = &history{disturbed: map[types.UID]bool{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for name, k := range kinds(client, namespace) {
		w, err := k.watch(ctx, metav1.ListOptions{ResourceVersion: from, TimeoutSeconds: new(int64(3600))})
		if err != nil {
			t.Fatalf("following %s: %v", name, err)
		}
		running.Go(func() {
			for event := range w.ResultChan() {
				h.note(event)
			}
			if ctx.Err() == nil {
				t.Errorf("%s are not followed any more", name)
			}
		})
	}
	return h, func() {
		cancel()
		running.Wait()
	}
}

func (h *history) note(event watch.Event) {
	object, err := meta.Accessor(event.Object)
	if err != nil {
		return // an error, after which the watch ends
	}
	number, err := strconv.ParseInt(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return
	}
	object.SetManagedFields(nil)
	h.mu.Lock()
	h.versions = append(h.versions, version{number, event.Type == watch.Deleted, object})
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// disturb says that the history itself deletes a pod.
func (h *history) disturb(uid types.UID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disturbed[uid] = true
}

// latest are the objects that exist as far as is noted.
func (h *history) latest() map[types.UID]metav1.Object {
	out := map[types.UID]metav1.Object{}
	for _, v := range h.sorted() {
		if v.gone {
			delete(out, v.object.GetUID())
			continue
		}
		out[v.object.GetUID()] = v.object
	}
	return out
}

// sorted are the versions in the order in which the server wrote them.
func (h *history) sorted() []version {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.versions)
	slices.SortStableFunc(out, func(a, b version) int { return cmp.Compare(a.number, b.number) })
	return out
}

// complete checks that what is noted is what the server has.
func (h *history) complete(ctx context.Context, client kubernetes.Interface, namespace string) error {
	noted := h.latest()
	n := 0
	for name, k := range kinds(client, namespace) {
		list, err := k.list(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			n++
			m, err := meta.Accessor(o)
			if err != nil {
				return err
			}
			if have := noted[m.GetUID()]; have == nil || have.GetResourceVersion() != m.GetResourceVersion() {
				return fmt.Errorf("%s %s is not noted", name, m.GetName())
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if n != len(noted) {
		return fmt.Errorf("%d objects are noted, %d exist", len(noted), n)
	}
	return nil
}

// quiet waits until something was noted or a moment has passed.
func (h *history) quiet(ctx context.Context, moment time.Duration) {
	select {
	case <-h.changed:
	case <-time.After(moment):
	case <-ctx.Done():
	}
}

// owned are the pods whose controller is the object.
func owned(world map[types.UID]metav1.Object, by types.UID) []*corev1.Pod {
	var out []*corev1.Pod
	for _, o := range world {
		if p, ok := o.(*corev1.Pod); ok && metav1.GetControllerOf(p) != nil && metav1.GetControllerOf(p).UID == by {
			out = append(out, p)
		}
	}
	return out
}
