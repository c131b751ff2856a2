package pod

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/cri"
)

// relist is how often every worker looks again although no event told it to.
const relist = time.Minute

// Manager has one worker for every pod of the node.
type Manager struct {
	deps Deps

	mu      sync.Mutex
	workers map[types.UID]*worker
	// start runs a worker; nil until Run has begun.
	start func(types.UID, *worker)
}

// NewManager makes a manager that knows no pods.
func NewManager(deps Deps) *Manager {
	return &Manager{deps: deps, workers: map[types.UID]*worker{}}
}

// Run runs the workers until ctx ends and they have ended. Containers keep running.
func (m *Manager) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	m.mu.Lock()
	m.start = func(uid types.UID, w *worker) {
		running.Go(func() {
			w.run(ctx)
			if ctx.Err() == nil {
				m.forget(uid)
			}
		})
	}
	for uid, w := range m.workers {
		m.start(uid, w)
	}
	m.mu.Unlock()
	tick := time.NewTicker(relist)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			m.mu.Lock()
			m.start = func(types.UID, *worker) {}
			m.mu.Unlock()
			return nil
		case <-tick.C:
			m.WakeAll()
		}
	}
}

func (m *Manager) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workers, uid)
}

// Update tells of a pod or a new version of it.
func (m *Manager) Update(pod *corev1.Pod) { m.update(pod, false) }

// Remove tells that the API no longer has the pod: what runs of it ends.
func (m *Manager) Remove(pod *corev1.Pod) { m.update(pod, true) }

func (m *Manager) update(pod *corev1.Pod, removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[pod.UID]; w != nil {
		w.update(pod, removed)
		return
	}
	w := newWorker(m.deps, pod)
	w.removed = removed
	m.workers[pod.UID] = w
	if m.start != nil {
		m.start(pod.UID, w)
	}
}

// Settle waits until every worker that there is now has looked at its pod once, so that what the runtime has of it is known.
func (m *Manager) Settle(ctx context.Context) {
	m.mu.Lock()
	workers := slices.Collect(maps.Values(m.workers))
	m.mu.Unlock()
	for _, w := range workers {
		select {
		case <-w.looked:
		case <-ctx.Done():
			return
		}
	}
}

// Orphan ends what the runtime has of a pod that the API doesn't, found at the node's start.
func (m *Manager) Orphan(s cri.Sandbox) {
	pod := &corev1.Pod{}
	pod.UID, pod.Namespace, pod.Name = types.UID(s.UID), s.Namespace, s.Name
	m.Remove(pod)
}

// Wake makes the worker of a pod look again.
func (m *Manager) Wake(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		w.poke()
	}
}

// Retry makes the worker of a pod try at once what failed, since what it waited for may have come.
func (m *Manager) Retry(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		w.retry()
	}
}

// WakeAll makes every worker look again.
func (m *Manager) WakeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		w.poke()
	}
}

// Knows reports whether there is a worker for the pod.
func (m *Manager) Knows(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[uid] != nil
}

// Evict fails a pod with a reason of the node's.
func (m *Manager) Evict(uid types.UID, reason, message string, grace time.Duration) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w != nil {
		w.fail(End{Reason: reason, Message: message, Since: time.Now(), Grace: grace, Failed: true})
	}
}

// Pods are the pods of the node with their present status, by namespace and name.
func (m *Manager) Pods() []*corev1.Pod {
	m.mu.Lock()
	workers := slices.Collect(maps.Values(m.workers))
	m.mu.Unlock()
	var out []*corev1.Pod
	for _, w := range workers {
		if pod, removed := w.current(); !removed {
			out = append(out, pod)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out
}

// Pod finds a pod by name. Of two with the name, of which one is ending, it answers the other.
func (m *Manager) Pod(namespace, name string) (*corev1.Pod, bool) {
	var found *corev1.Pod
	for _, pod := range m.Pods() {
		if pod.Namespace == namespace && pod.Name == name && (found == nil || found.DeletionTimestamp != nil) {
			found = pod
		}
	}
	return found, found != nil
}

// Container finds the newest container of a pod by name; with previous, the one before.
func (m *Manager) Container(uid types.UID, name string, previous bool) (cri.Container, bool) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w == nil {
		return cri.Container{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []cri.Container
	for _, c := range w.seen.Containers {
		if c.Name == name {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b cri.Container) int { return int(b.Attempt) - int(a.Attempt) })
	at := 0
	if previous {
		at = 1
	}
	if at >= len(list) {
		return cri.Container{}, false
	}
	return list[at], true
}

// Sandbox answers the pod's ready sandbox.
func (m *Manager) Sandbox(uid types.UID) (cri.Sandbox, bool) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w == nil {
		return cri.Sandbox{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.seen.sandbox(); s != nil && s.Ready {
		return *s, true
	}
	return cri.Sandbox{}, false
}

// current is the pod with the status that was computed last.
func (w *worker) current() (*corev1.Pod, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.pod.DeepCopy()
	w.status.DeepCopyInto(&out.Status)
	return out, w.removed
}
