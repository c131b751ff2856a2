package queue

import (
	"context"
	"time"

	"skiff/scheduler/framework"
)

// enter moves a pod into a part. Only what passes PreEnqueue gets further than the unschedulable part.
func (q *Queue) enter(p *Pod, to part, event string) {
	q.leave(p)
	p.GatedBy = ""
	if to != unschedulable {
		if s := q.policy.PreEnqueue(p.Info); !s.IsSuccess() {
			p.GatedBy, to = s.Plugin(), unschedulable
		}
	}
	p.where = to
	switch to {
	case active:
		q.active.push(p)
		q.wake.Signal()
	case backoff:
		p.readyAt = p.Enqueued.Add(q.backoffFor(p))
		q.backoffPart(p).push(p)
		q.wake.Signal()
		q.rearm()
	case unschedulable:
		q.unschedulable.add(p)
	}
	name := to.String()
	if p.GatedBy != "" {
		name = "gated"
	}
	q.cfg.Incoming(name, event)
}

func (q *Queue) leave(p *Pod) {
	switch p.where {
	case active:
		q.active.remove(p)
	case backoff:
		q.backoffPart(p).remove(p)
	case unschedulable:
		q.unschedulable.remove(p)
	}
	p.where = nowhere
}

// backoffPart: pods that met errors are kept apart, since their wait protects the API and is never cut short.
func (q *Queue) backoffPart(p *Pod) *podHeap {
	if p.Errors > 0 {
		return &q.errors
	}
	return &q.backoff
}

// backoffFor doubles from the initial backoff with every rejection, or with every error in a row, up to the maximum.
func (q *Queue) backoffFor(p *Pod) time.Duration {
	n := p.Unschedulable
	if p.Errors > 0 {
		n = p.Errors
	}
	d := q.cfg.InitialBackoff
	for i := 1; i < n && d < q.cfg.MaxBackoff; i++ {
		d *= 2
	}
	if n == 0 {
		return 0
	}
	return min(d, q.cfg.MaxBackoff)
}

// requeueIfHelped asks the plugins that rejected the pod whether the change may help, and queues it if one says so.
func (q *Queue) requeueIfHelped(p *Pod, change framework.Change) bool {
	helped, immediately := false, false
	if change.Event.Resource == framework.WildCard {
		helped = true
	}
	for plugin := range p.PendingPlugins {
		if q.hinted(plugin, p, change) {
			helped, immediately = true, true
		}
	}
	for plugin := range p.UnschedulablePlugins {
		helped = helped || q.hinted(plugin, p, change)
	}
	if helped {
		q.requeue(p, immediately, change.Event.Label)
	}
	return helped
}

// reconsiderIfHelped asks the plugin that keeps the pod out whether the change may help, and if so asks all PreEnqueue
// plugins again.
func (q *Queue) reconsiderIfHelped(p *Pod, change framework.Change) {
	if change.Event.Resource != framework.WildCard && !q.hinted(p.GatedBy, p, change) {
		return
	}
	if s := q.policy.PreEnqueue(p.Info); !s.IsSuccess() {
		if p.GatedBy != s.Plugin() {
			q.unschedulable.remove(p)
			p.GatedBy = s.Plugin()
			q.unschedulable.add(p)
		}
		return
	}
	q.requeue(p, false, change.Event.Label)
}

// requeue tries a pod again, at once or, if it isn't to be done immediately, when its backoff is over.
func (q *Queue) requeue(p *Pod, immediately bool, event string) {
	to := backoff
	if immediately || !p.Enqueued.Add(q.backoffFor(p)).After(time.Now()) {
		to = active
	}
	q.enter(p, to, event)
}

// hinted: a plugin that registers nothing is taken to care about everything.
func (q *Queue) hinted(plugin string, p *Pod, change framework.Change) bool {
	registered, ok := q.events[p.Info.Pod.Spec.SchedulerName][plugin]
	if !ok {
		return true
	}
	for _, r := range registered {
		if r.Event.Matches(change.Event) && q.hint(plugin, r.Hint, p, change) == framework.Queue {
			return true
		}
	}
	return false
}

// hint asks a plugin; one without a hint wants the pod queued.
func (q *Queue) hint(plugin string, hint framework.HintFunc, p *Pod, change framework.Change) framework.QueueingHint {
	switch {
	case hint == nil:
		return framework.Queue
	case q.cfg.Hinted == nil || !q.cfg.Sample():
		return hint(p.Info, change)
	}
	began := time.Now()
	answer := hint(p.Info, change)
	q.cfg.Hinted(plugin, change.Event.Label, answer, time.Since(began))
	return answer
}

// Run moves pods out of backoff when their time has come and, every 30 seconds, those that have been unschedulable for
// longer than the flush time. It returns when ctx ends.
func (q *Queue) Run(ctx context.Context) error {
	flush := time.NewTicker(unschedulableFlushInterval)
	defer flush.Stop()
	ready := time.NewTimer(time.Hour)
	defer ready.Stop()
	for {
		ready.Reset(q.flushBackoff())
		select {
		case <-ctx.Done():
			return nil
		case <-ready.C:
		case <-q.timer:
		case <-flush.C:
			q.flushUnschedulable()
		}
	}
}

// rearm makes Run look at the backoff part again.
func (q *Queue) rearm() {
	select {
	case q.timer <- struct{}{}:
	default:
	}
}

// flushBackoff answers how long until the next pod is ready.
func (q *Queue) flushBackoff() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait := time.Hour
	for _, heap := range []*podHeap{&q.backoff, &q.errors} {
		for p := heap.first(); p != nil; p = heap.first() {
			if left := time.Until(p.readyAt); left > 0 {
				wait = min(wait, left)
				break
			}
			q.enter(p, active, "BackoffComplete")
		}
	}
	return wait
}

func (q *Queue) flushUnschedulable() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, of := range q.unschedulable {
		for _, p := range of.pods {
			if !of.gated && time.Since(p.Enqueued) > q.cfg.UnschedulableFlush {
				p.Flushed = true
				q.enter(p, active, "UnschedulableTimeout")
			}
		}
	}
}
