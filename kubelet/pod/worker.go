package pod

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
	"skiff/kubelet/probes"
	"skiff/kubelet/status"
)

// lookAgain is the wait after the runtime could not be asked.
const lookAgain = time.Second

// Deps is what workers work with.
type Deps struct {
	Runtime     *cri.Client
	Volumes     Volumes
	Environment Environment
	Images      Images
	Cgroups     Cgroups
	Network     Network // nil when others judge packets, or nobody
	Recorder    Recorder
	Statuses    Statuses
	// Handler answers the runtime's name for a RuntimeClass; nil when the node knows the default only.
	Handler func(class string) (string, error)
	Host    Host
}

// worker runs one pod. Its loop alone observes, plans and begins steps; a step runs in a goroutine of its own, reports into the
// memory under mu and wakes the loop.
type worker struct {
	deps   Deps
	wake   chan struct{}
	looked chan struct{} // closed after the first look
	probes *probes.Set
	steps  sync.WaitGroup
	// imageMounts orders the creation of containers that mount images.
	imageMounts sync.Mutex

	mu      sync.Mutex
	pod     *corev1.Pod
	removed bool
	evict   *End
	memory  *Memory
	busy    Busy
	// cancels end what is under way and loses its point when the pod ends.
	cancels map[string]context.CancelFunc
	seen    Seen
	status  corev1.PodStatus
	// held is set after the first look.
	held bool
	// told holds the containers whose back-off was announced, by id.
	told map[string]bool
}

func newWorker(deps Deps, pod *corev1.Pod) *worker {
	w := &worker{
		deps: deps, wake: make(chan struct{}, 1), looked: make(chan struct{}), pod: pod, memory: NewMemory(), cancels: map[string]context.CancelFunc{},
		busy:   Busy{Starting: map[string]bool{}, Killing: map[string]time.Time{}, Removing: map[string]bool{}},
		status: pod.Status, told: map[string]bool{},
	}
	w.probes = probes.NewSet(deps.Runtime, deps.Recorder, w.poke)
	return w
}

// poke makes the loop look again.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// update hands the worker a newer version of the pod.
func (w *worker) update(pod *corev1.Pod, removed bool) {
	w.mu.Lock()
	w.pod, w.removed = pod, w.removed || removed
	w.mu.Unlock()
	w.poke()
}

// object is the pod as the API had it last.
func (w *worker) object() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// retry lets what failed be tried again at once.
func (w *worker) retry() {
	w.mu.Lock()
	if failed := w.memory.Sandbox; failed != nil {
		failed.Retry = time.Time{}
	}
	w.mu.Unlock()
	w.poke()
}

// fail ends the pod for a reason of the node's.
func (w *worker) fail(end End) {
	w.mu.Lock()
	if w.evict == nil {
		w.evict = &end
	}
	w.mu.Unlock()
	w.poke()
}

// run works until ctx ends, which leaves containers as they are, or until nothing of a removed pod is left.
func (w *worker) run(ctx context.Context) {
	defer w.steps.Wait()
	defer w.probes.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	first := sync.OnceFunc(func() { close(w.looked) })
	defer first()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		next, gone := w.look(ctx)
		first()
		if gone {
			return
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(0, time.Until(next)))
		}
	}
}

// look observes, plans, begins the steps and publishes the status. It answers when to look again and whether the pod is gone.
func (w *worker) look(ctx context.Context) (next time.Time, gone bool) {
	seen, err := w.observe(ctx)
	if err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Could not observe a pod", "pod", klog.KObj(w.object()))
		}
		return time.Now().Add(lookAgain), false
	}
	w.mu.Lock()
	w.seen = seen
	if w.memory.End == nil && w.evict != nil {
		w.memory.End = w.evict
	}
	w.vanished()
	ending := w.memory.End != nil || w.pod.DeletionTimestamp != nil
	pod, ips, running := w.pod, w.ips(), w.running()
	w.mu.Unlock()

	w.probes.Sync(ctx, pod, ips, running, ending)

	w.hold(pod)

	w.mu.Lock()
	in := w.input()
	plan := Next(in)
	w.memory.End = plan.End
	removed := w.removed
	w.begin(ctx, plan)
	computed := w.compute(in, plan)
	w.status = computed
	w.mu.Unlock()

	w.announce(in, plan)
	if removed && plan.Final {
		if w.deps.Network != nil {
			w.deps.Network.Release(in.Pod)
		}
		return time.Now().Add(lookAgain), w.bury(ctx, in.Pod)
	}
	if !removed {
		w.deps.Statuses.Set(in.Pod, computed, plan.Final)
	}
	return plan.Wake, false
}

// hold has the network judge the packets of a pod that runs since before this process, whether or not the API knows its
// addresses and for as long as anything of it runs.
func (w *worker) hold(pod *corev1.Pod) {
	w.mu.Lock()
	s, first := w.seen.sandbox(), !w.held && !w.removed
	w.held = true
	w.mu.Unlock()
	if first && w.deps.Network != nil && !pod.Spec.HostNetwork && s != nil && s.Ready && len(s.IPs) > 0 {
		w.deps.Network.Hold(pod, s.IPs)
	}
}

// vanished makes a pod that the API no longer has end like a deleted one.
func (w *worker) vanished() {
	if w.removed && w.pod.DeletionTimestamp == nil && w.memory.End == nil {
		w.memory.End = &End{Since: time.Now(), Grace: grace(w.pod)}
	}
}

// input is what the machine decides from. The maps that steps change are copied.
func (w *worker) input() Input {
	return Input{
		Pod: w.pod, Seen: w.seen, Memory: w.memory, Probes: w.probes.Health(), Now: time.Now(),
		Busy: Busy{
			Mounting: w.busy.Mounting, Sandbox: w.busy.Sandbox, Cleaning: w.busy.Cleaning,
			Starting: maps.Clone(w.busy.Starting), Killing: maps.Clone(w.busy.Killing), Removing: maps.Clone(w.busy.Removing),
		},
	}
}

// compute makes the status. mu is held.
func (w *worker) compute(in Input, plan Plan) corev1.PodStatus {
	waiting := maps.Clone(plan.Waiting)
	for name, failed := range w.memory.Failures {
		if _, said := waiting[name]; !said {
			waiting[name] = corev1.ContainerStateWaiting{Reason: failed.Reason, Message: failed.Message}
		}
	}
	health := map[string]status.Health{}
	for id, h := range in.Probes {
		health[id] = status.Health{Started: h.Started, Ready: h.Ready}
	}
	for name := range in.Busy.Starting {
		// A container with a postStart hook is ready and started only once the hook is done.
		if c := in.Seen.latest(name, ""); c != nil && c.State == cri.Running {
			health[c.ID] = status.Health{}
		}
	}
	out := status.Input{
		Pod: in.Pod, Sandbox: in.Seen.sandbox(), Containers: in.Seen.Containers, Phase: Phase(in, plan), Initialized: plan.Initialized,
		Waiting: waiting, Health: health, Over: plan.Over, HostIPs: w.deps.Host.IPs, Runtime: "containerd", Now: in.Now,
	}
	if plan.End != nil {
		out.Reason, out.Message = plan.End.Reason, plan.End.Message
	}
	return status.Compute(out)
}

// announce tells users of back-offs that began.
func (w *worker) announce(in Input, plan Plan) {
	for _, name := range plan.BackOff {
		last := in.Seen.latest(name, "")
		if last == nil || w.told[last.ID] {
			continue
		}
		w.told[last.ID] = true
		w.deps.Recorder.Event(in.Pod, name, corev1.EventTypeWarning, "BackOff",
			"Back-off restarting failed container "+name+" in pod "+in.Pod.Name+"_"+in.Pod.Namespace+"("+string(in.Pod.UID)+")")
	}
}

// bury removes the records of a pod that is over: its sandboxes in the runtime, its logs and its files.
func (w *worker) bury(ctx context.Context, pod *corev1.Pod) bool {
	for _, s := range w.seen.Sandboxes {
		if err := w.deps.Runtime.RemoveSandbox(ctx, s.ID); err != nil {
			if ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "Could not remove a sandbox", "pod", klog.KObj(pod))
			}
			return false
		}
	}
	// The pod's directory also holds its volumes, which are others' to remove: what isn't the worker's stays.
	dir := w.deps.Host.Dir(pod)
	for _, path := range []string{w.deps.Host.LogDir(pod), filepath.Join(dir, "containers"), filepath.Join(dir, "etc-hosts")} {
		if err := os.RemoveAll(path); err != nil {
			klog.FromContext(ctx).Error(err, "Could not remove a pod's files", "pod", klog.KObj(pod))
		}
	}
	if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
		klog.FromContext(ctx).V(2).Info("A pod's directory is not empty", "pod", klog.KObj(pod), "err", err)
	}
	w.deps.Statuses.Forget(pod.UID)
	return true
}

// ips are the addresses of the pod. mu is held.
func (w *worker) ips() []string {
	if w.pod.Spec.HostNetwork {
		return w.deps.Host.IPs
	}
	if s := w.seen.sandbox(); s != nil {
		return s.IPs
	}
	return nil
}

// running are the containers to probe. mu is held.
func (w *worker) running() []probes.Running {
	var out []probes.Running
	for _, c := range w.seen.Containers {
		if c.State != cri.Running {
			continue
		}
		if spec := container(w.pod, c.Name); spec != nil {
			out = append(out, probes.Running{ID: c.ID, Spec: spec, Started: c.Started})
		}
	}
	return out
}
