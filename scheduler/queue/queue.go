// Package queue holds the pods that wait for a node.
//
//	               Pop                                          Requeue (rejected)
//	Add -> active -----> in flight (being scheduled and bound) ---------------------> unschedulable
//	  \      ^  ^                 | Requeue (error)                                     |      |
//	   \     |  '------------- backoff <-- Move: an event a rejecting plugin waits for -'      | 5 min: flush
//	    \    |                    ^-------------------------------------------------------------'
//	     '-> gated (PreEnqueue objects)
//
// An event that happens while a pod is in flight is remembered and judged when the pod is requeued, so that no pod
// sleeps through the change it waits for.
package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"skiff/scheduler/framework"
)

// Upstream's defaults.
const (
	DefaultInitialBackoff      = time.Second
	DefaultMaxBackoff          = 10 * time.Second
	DefaultUnschedulableFlush  = 5 * time.Minute
	unschedulableFlushInterval = 30 * time.Second
)

// Policy decides order, admission and re-queueing.
type Policy interface {
	Less(a, b framework.Queued) bool
	PreEnqueue(pod *framework.PodInfo) *framework.Status
	// Events answers what each plugin waits for, by the scheduler name of pods and the plugin's name.
	Events() map[string]map[string][]framework.ClusterEventWithHint
}

// Config sets the queue's times; zero values mean the defaults.
type Config struct {
	InitialBackoff, MaxBackoff, UnschedulableFlush time.Duration
	// Incoming, when set, is told of every entry of a pod into a part of the queue.
	Incoming func(queue, event string)
	// Hinted, when set, is told of a hint that a plugin gave and how long it took. Sample says which are timed.
	Hinted func(plugin, event string, hint framework.QueueingHint, took time.Duration)
	Sample func() bool
}

// Pod is a pod in the queue with its history. The scheduling loop owns it between Pop and Requeue or Done.
type Pod struct {
	Info *framework.PodInfo
	// Enqueued is when the pod entered the queue last; InitialAttempt when it was popped first.
	Enqueued, InitialAttempt time.Time
	// Attempts counts all attempts; Unschedulable those that ended in a rejection; Errors the errors in a row.
	Attempts, Unschedulable, Errors int
	// UnschedulablePlugins and PendingPlugins rejected the pod in its last attempt.
	UnschedulablePlugins, PendingPlugins sets.Set[string]
	// Flushed says that the pod was queued again after it had been unschedulable for long, without any event that helps.
	Flushed bool
	// GatedBy names the PreEnqueue plugin that keeps the pod out.
	GatedBy string

	where   part
	index   int
	group   string // while it is unschedulable
	readyAt time.Time
}

// part is where a pod is.
type part int

const (
	nowhere part = iota
	active
	backoff
	unschedulable
)

func (p part) String() string { return [...]string{"", "active", "backoff", "unschedulable"}[p] }

// Queue is safe for concurrent use.
type Queue struct {
	cfg    Config
	policy Policy
	events map[string]map[string][]framework.ClusterEventWithHint

	mu            sync.Mutex
	wake          *sync.Cond
	timer         chan struct{}
	pods          map[types.UID]*Pod
	active        podHeap
	backoff       podHeap
	errors        podHeap
	unschedulable groups
	inFlight      inFlight
}

// New makes an empty queue.
func New(cfg Config, policy Policy) *Queue {
	cfg.InitialBackoff = orDefault(cfg.InitialBackoff, DefaultInitialBackoff)
	cfg.MaxBackoff = orDefault(cfg.MaxBackoff, DefaultMaxBackoff)
	cfg.UnschedulableFlush = orDefault(cfg.UnschedulableFlush, DefaultUnschedulableFlush)
	if cfg.Incoming == nil {
		cfg.Incoming = func(string, string) {}
	}
	q := &Queue{
		cfg: cfg, policy: policy, events: policy.Events(), timer: make(chan struct{}, 1),
		pods: map[types.UID]*Pod{}, unschedulable: groups{},
		inFlight: inFlight{flights: map[types.UID]*flight{}},
	}
	q.wake = sync.NewCond(&q.mu)
	q.active.less = func(a, b *Pod) bool {
		return policy.Less(framework.Queued{Pod: a.Info, Enqueued: a.Enqueued}, framework.Queued{Pod: b.Info, Enqueued: b.Enqueued})
	}
	q.backoff.less = func(a, b *Pod) bool { return a.readyAt.Before(b.readyAt) }
	q.errors.less = q.backoff.less
	return q
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Add puts in a pod the queue may or may not know already.
func (q *Queue) Add(info *framework.PodInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p, ok := q.pods[info.Pod.UID]; ok {
		q.update(p, info)
		return
	}
	if f := q.inFlight.flights[info.Pod.UID]; f != nil {
		f.latest = info
		return
	}
	p := &Pod{Info: info, Enqueued: time.Now()}
	q.pods[info.Pod.UID] = p
	q.enter(p, active, "UnscheduledPodAdd")
}

// Update tells of a new version of an unscheduled pod. An update that can make a rejected pod fit queues it again.
func (q *Queue) Update(info *framework.PodInfo) { q.Add(info) }

func (q *Queue) update(p *Pod, info *framework.PodInfo) {
	before := p.Info
	p.Info = info
	switch p.where {
	case active:
		q.active.fix(p)
	case unschedulable:
		if p.GatedBy != "" {
			q.enter(p, active, "TargetPodUpdate")
			return
		}
		event := framework.ClusterEvent{Resource: framework.TargetPod, Action: framework.PodChange(before, info), Label: "TargetPodUpdate"}
		q.requeueIfHelped(p, framework.Change{Event: event, Old: before, New: info})
	}
}

// Delete forgets a pod, wherever it is; one that is in flight is not taken back when its attempt fails.
func (q *Queue) Delete(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f := q.inFlight.flights[uid]; f != nil {
		f.gone = true
	}
	if p, ok := q.pods[uid]; ok {
		q.leave(p)
		delete(q.pods, uid)
	}
}

// Pop waits for the next pod; nil when ctx ends. The caller ends the attempt with Requeue or Done.
func (q *Queue) Pop(ctx context.Context) *Pod {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.wake.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if ctx.Err() != nil {
			return nil
		}
		if p := q.next(); p != nil {
			q.leave(p)
			delete(q.pods, p.Info.Pod.UID)
			p.Attempts++
			if p.InitialAttempt.IsZero() {
				p.InitialAttempt = time.Now()
			}
			q.inFlight.start(p.Info.Pod.UID)
			return p
		}
		q.wake.Wait()
	}
}

// next prefers the active part; an idle scheduler takes rejected pods out of backoff early, never those that met errors.
func (q *Queue) next() *Pod {
	if p := q.active.first(); p != nil {
		return p
	}
	return q.backoff.first()
}

// Decided says that the attempt can't end in a rejection any more: the events since Pop need not be kept for it.
func (q *Queue) Decided(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight.decided(uid)
}

// Done ends an attempt for good: the pod is bound, or not ours any more.
func (q *Queue) Done(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight.done(uid)
}

// Requeue ends an attempt that failed. Without rejecting plugins (an error) the pod backs off and is retried; with them
// it waits for an event one of them cares about, the events since Pop included. It reports false when the pod was deleted
// or placed meanwhile and is not taken back.
func (q *Queue) Requeue(p *Pod) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	uid := p.Info.Pod.UID
	f := q.inFlight.flights[uid]
	if _, known := q.pods[uid]; known || f == nil || f.gone {
		q.inFlight.done(uid)
		return false
	}
	changes := q.inFlight.since(f)
	q.inFlight.done(uid)
	if f.latest != nil {
		change := framework.ClusterEvent{Resource: framework.TargetPod, Action: framework.PodChange(p.Info, f.latest), Label: "TargetPodUpdate"}
		changes = append(slices.Clip(changes), framework.Change{Event: change, Old: p.Info, New: f.latest})
		p.Info = f.latest
	}
	p.Enqueued, p.where, p.Flushed = time.Now(), nowhere, false
	q.pods[uid] = p
	if p.UnschedulablePlugins.Len()+p.PendingPlugins.Len() == 0 {
		p.Errors++
		q.enter(p, backoff, "ScheduleAttemptFailure")
		return true
	}
	p.Unschedulable++
	p.Errors = 0
	q.enter(p, unschedulable, "ScheduleAttemptFailure")
	for _, change := range changes {
		if q.requeueIfHelped(p, change) {
			break
		}
	}
	return true
}

// Move tells of a change in the cluster and queues the pods it may help.
func (q *Queue) Move(change framework.Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight.record(change)
	for _, of := range q.unschedulable {
		if !q.concerns(of, change) {
			continue
		}
		for _, p := range of.pods {
			if of.gated {
				q.reconsiderIfHelped(p, change)
			} else {
				q.requeueIfHelped(p, change)
			}
		}
	}
}

// Activate queues a pod at once, wherever it waits.
func (q *Queue) Activate(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p, ok := q.pods[uid]; ok && p.where != active {
		q.enter(p, active, "ForceActivate")
	}
}

// Pending lists the pods waiting, by part; pods kept out by a gate are listed under "gated".
func (q *Queue) Pending() map[string][]*corev1.Pod {
	q.mu.Lock()
	defer q.mu.Unlock()
	pending := map[string][]*corev1.Pod{"active": nil, "backoff": nil, "unschedulable": nil, "gated": nil}
	for _, p := range q.pods {
		name := p.where.String()
		if p.GatedBy != "" {
			name = "gated"
		}
		pending[name] = append(pending[name], p.Info.Pod)
	}
	return pending
}

// Counts answers how many pods are where, as Pending lists them.
func (q *Queue) Counts() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	gated, others := 0, 0
	for _, of := range q.unschedulable {
		if of.gated {
			gated += len(of.pods)
		} else {
			others += len(of.pods)
		}
	}
	return map[string]int{
		"active": len(q.active.pods), "backoff": len(q.backoff.pods) + len(q.errors.pods),
		"unschedulable": others, "gated": gated,
	}
}
