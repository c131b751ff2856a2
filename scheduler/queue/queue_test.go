package queue_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"

	"skiff/scheduler/framework"
	"skiff/scheduler/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// policy gates pods labelled "gated" and lets plugin "Fit" wait for node additions, "Named" for nodes of its pod's label.
type policy struct{}

func (policy) Less(a, b framework.Queued) bool {
	if a.Pod.Priority != b.Pod.Priority {
		return a.Pod.Priority > b.Pod.Priority
	}
	return a.Enqueued.Before(b.Enqueued)
}

func (policy) PreEnqueue(pod *framework.PodInfo) *framework.Status {
	if pod.Pod.Labels["gated"] != "" {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, "gated").WithPlugin("Gate")
	}
	return nil
}

func (policy) Events() map[string]map[string][]framework.ClusterEventWithHint {
	add := framework.ClusterEvent{Resource: framework.Node, Action: framework.Add}
	return map[string]map[string][]framework.ClusterEventWithHint{"": {
		"Fit": {{Event: add}, {Event: framework.ClusterEvent{Resource: framework.TargetPod, Action: framework.UpdatePodScaleDown}}},
		"Named": {{Event: add, Hint: func(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
			if change.New.(*corev1.Node).Name == pod.Pod.Labels["node"] {
				return framework.Queue
			}
			return framework.QueueSkip
		}}},
	}}
}

func info(name string, priority int32, labels ...string) *framework.PodInfo {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{}}}
	pod.Spec.Priority = &priority
	for i := 0; i+1 < len(labels); i += 2 {
		pod.Labels[labels[i]] = labels[i+1]
	}
	pi, err := framework.NewPodInfo(pod)
	if err != nil {
		panic(err)
	}
	return pi
}

func nodeAdd(name string) framework.Change {
	return framework.Change{
		Event: framework.ClusterEvent{Resource: framework.Node, Action: framework.Add, Label: "NodeAdd"},
		New:   &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
	}
}

func podDelete() framework.Change {
	return framework.Change{Event: framework.ClusterEvent{Resource: framework.AssignedPod, Action: framework.Delete}}
}

// running runs the queue inside a synctest bubble.
func running(t *testing.T, test func(t *testing.T, q *queue.Queue, pop func() string)) {
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(queue.Config{}, policy{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := q.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		test(t, q, func() string { return q.Pop(ctx).Info.Pod.Name })
		cancel()
		<-done
	})
}

func popped(t *testing.T, q *queue.Queue) *queue.Pod {
	t.Helper()
	p := q.Pop(t.Context())
	if p == nil {
		t.Fatal("nothing popped")
	}
	return p
}

func reject(p *queue.Pod, plugins ...string) *queue.Pod {
	p.UnschedulablePlugins, p.PendingPlugins = sets.New(plugins...), nil
	return p
}

func counts(t *testing.T, q *queue.Queue, active, backoff, unschedulable, gated int) {
	t.Helper()
	want := map[string]int{"active": active, "backoff": backoff, "unschedulable": unschedulable, "gated": gated}
	for name, n := range q.Counts() {
		if n != want[name] {
			t.Errorf("%d pods %s, want %d", n, name, want[name])
		}
	}
}

func TestOrder(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("first", 0))
		time.Sleep(time.Second)
		q.Add(info("second", 0))
		q.Add(info("important", 10))
		for _, want := range []string{"important", "first", "second"} {
			if got := pop(); got != want {
				t.Errorf("popped %s, want %s", got, want)
			}
		}
	})
}

func TestErrorsBackOffFromOneToTenSeconds(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0))
		p := popped(t, q)
		for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			start := time.Now()
			q.Requeue(reject(p))
			p = popped(t, q)
			if got := time.Since(start); got != want*time.Second {
				t.Errorf("attempt %d came after %v, want %ds", p.Attempts, got, want)
			}
		}
	})
}

func TestRejectedPodWaitsForItsEvent(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0, "node", "right"))
		q.Requeue(reject(popped(t, q), "Named"))
		counts(t, q, 0, 0, 1, 0)
		q.Move(podDelete())
		q.Move(nodeAdd("wrong"))
		counts(t, q, 0, 0, 1, 0)
		q.Move(nodeAdd("right"))
		counts(t, q, 0, 1, 0, 0)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		counts(t, q, 1, 0, 0, 0)
	})
}

func TestRejectedPodIsPoppedEarlyWhenIdle(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0))
		q.Requeue(reject(popped(t, q), "Fit"))
		q.Move(nodeAdd("n"))
		start := time.Now()
		if got := pop(); got != "a" || time.Since(start) != 0 {
			t.Errorf("popped %s after %v", got, time.Since(start))
		}
	})
}

func TestEventsDuringTheAttemptCount(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0))
		p := popped(t, q)
		q.Move(nodeAdd("n"))
		q.Requeue(reject(p, "Fit"))
		counts(t, q, 0, 1, 0, 0)
	})
}

func TestUpdateDuringTheAttemptCounts(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0))
		p := popped(t, q)
		q.Update(info("a", 7))
		q.Requeue(reject(p, "Fit"))
		q.Activate("a")
		if got := popped(t, q); got.Info.Priority != 7 {
			t.Errorf("the old version was kept: priority %d", got.Info.Priority)
		}
	})
}

func TestUnschedulablePodsAreFlushedAfterFiveMinutes(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0))
		q.Requeue(reject(popped(t, q), "Fit"))
		start := time.Now()
		pop()
		if got := time.Since(start); got < 5*time.Minute || got > 5*time.Minute+30*time.Second {
			t.Errorf("flushed after %v", got)
		}
	})
}

func TestGates(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0, "gated", "yes"))
		counts(t, q, 0, 0, 0, 1)
		q.Move(nodeAdd("n"))
		counts(t, q, 0, 0, 0, 1)
		q.Update(info("a", 0))
		if got := pop(); got != "a" {
			t.Errorf("popped %s", got)
		}
	})
}

func TestDeletedInFlightIsNotTakenBack(t *testing.T) {
	running(t, func(t *testing.T, q *queue.Queue, pop func() string) {
		q.Add(info("a", 0))
		p := popped(t, q)
		q.Delete("a")
		if q.Requeue(p) {
			t.Error("a deleted pod was queued again")
		}
		counts(t, q, 0, 0, 0, 0)
	})
}

func TestPopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(queue.Config{}, policy{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p := q.Pop(ctx); p != nil {
			t.Errorf("popped %v", p)
		}
	})
}

// TestNoPodIsEverLost: whatever happens in whatever order, every pod added and not deleted is in the queue or in flight
// exactly once.
func TestNoPodIsEverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := queue.New(queue.Config{}, policy{})
		alive, flying := map[string]bool{}, map[string]*queue.Pod{}
		name := rapid.Map(rapid.IntRange(0, 5), func(i int) string { return fmt.Sprintf("p%d", i) })
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := name.Draw(t, "name")
				q.Add(info(n, 0))
				if f := flying[n]; f == nil || alive[n] {
					alive[n] = true
				}
			},
			"delete": func(t *rapid.T) {
				n := name.Draw(t, "name")
				q.Delete(types.UID(n))
				delete(alive, n)
			},
			"pop": func(t *rapid.T) {
				if c := q.Counts(); c["active"] == 0 {
					t.Skip("nothing active")
				}
				p := q.Pop(context.Background())
				if flying[p.Info.Pod.Name] != nil {
					t.Fatalf("%s was popped twice", p.Info.Pod.Name)
				}
				flying[p.Info.Pod.Name] = p
			},
			"requeue": func(t *rapid.T) {
				for n, p := range flying {
					plugins := rapid.SampledFrom([][]string{nil, {"Fit"}, {"Named"}}).Draw(t, "plugins")
					if took := q.Requeue(reject(p, plugins...)); took != alive[n] {
						t.Fatalf("requeue of %s took it: %v, alive: %v", n, took, alive[n])
					}
					delete(flying, n)
					return
				}
			},
			"move": func(*rapid.T) { q.Move(nodeAdd("n")) },
			"": func(t *rapid.T) {
				queued := map[string]int{}
				for _, pods := range q.Pending() {
					for _, p := range pods {
						queued[p.Name]++
					}
				}
				for n := range alive {
					places := queued[n]
					if flying[n] != nil {
						places++
					}
					if places != 1 {
						t.Fatalf("%s is in %d places", n, places)
					}
				}
			},
		})
	})
}

// door gates all pods while it is shut; its plugin waits for labels of nodes.
type door struct {
	policy
	shut *bool
}

func (d door) PreEnqueue(*framework.PodInfo) *framework.Status {
	if *d.shut {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, "shut").WithPlugin("Door")
	}
	return nil
}

func (d door) Events() map[string]map[string][]framework.ClusterEventWithHint {
	events := d.policy.Events()
	events[""]["Door"] = []framework.ClusterEventWithHint{{Event: framework.ClusterEvent{Resource: framework.Node, Action: framework.UpdateNodeLabel}}}
	return events
}

// TestGatedPodsHearWhatTheirPluginWaitsFor: a change that the gating plugin waits for has the gate looked at again.
func TestGatedPodsHearWhatTheirPluginWaitsFor(t *testing.T) {
	shut := true
	q := queue.New(queue.Config{}, door{shut: &shut})
	q.Add(info("a", 0))
	counts(t, q, 0, 0, 0, 1)
	awaited := framework.Change{Event: framework.ClusterEvent{Resource: framework.Node, Action: framework.UpdateNodeLabel}}
	q.Move(awaited)
	counts(t, q, 0, 0, 0, 1)
	shut = false
	q.Move(framework.Change{Event: framework.ClusterEvent{Resource: framework.Node, Action: framework.Add}, New: &corev1.Node{}})
	counts(t, q, 0, 0, 0, 1)
	q.Move(awaited)
	counts(t, q, 1, 0, 0, 0)
}

// gates shut out by one plugin after the other; each waits for changes of nodes of its own kind.
type gates struct {
	policy
	by *string
}

func (g gates) PreEnqueue(*framework.PodInfo) *framework.Status {
	if *g.by != "" {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, "shut").WithPlugin(*g.by)
	}
	return nil
}

func (g gates) Events() map[string]map[string][]framework.ClusterEventWithHint {
	events := g.policy.Events()
	for plugin, action := range map[string]framework.ActionType{"Door": framework.UpdateNodeLabel, "Window": framework.UpdateNodeTaint} {
		events[""][plugin] = []framework.ClusterEventWithHint{{Event: framework.ClusterEvent{Resource: framework.Node, Action: action}}}
	}
	return events
}

// TestGatedByAnother: a pod that another plugin keeps out now hears what that one waits for.
func TestGatedByAnother(t *testing.T) {
	by := "Door"
	q := queue.New(queue.Config{}, gates{by: &by})
	q.Add(info("a", 0))
	q.Add(info("b", 0))
	move := func(action framework.ActionType) {
		q.Move(framework.Change{Event: framework.ClusterEvent{Resource: framework.Node, Action: action}})
	}
	by = "Window"
	move(framework.UpdateNodeLabel)
	counts(t, q, 0, 0, 0, 2)
	by = ""
	move(framework.UpdateNodeLabel)
	counts(t, q, 0, 0, 0, 2)
	move(framework.UpdateNodeTaint)
	counts(t, q, 2, 0, 0, 0)
}
