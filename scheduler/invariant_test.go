package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"pgregory.net/rapid"

	"skiff/scheduler/framework"
)

// nodeCPU is what every node of the simulation has, in hundredths of a core; pods request 1 to 4.
const nodeCPU = 8

// simulation is an API whose events reach the scheduler late, and whose bindings end late and either way.
type simulation struct {
	s        *Scheduler
	nodes    map[string]*corev1.Node
	pods     map[string]*corev1.Pod
	events   []func()
	bindings []binding
	next     int
}

type binding struct {
	a    *attempt
	node string
}

func (m *simulation) emitPod(before, after *corev1.Pod) {
	m.events = append(m.events, func() { m.s.podChanged(before, after) })
}

func (m *simulation) emitNode(before, after *corev1.Node) {
	m.events = append(m.events, func() { m.s.nodeChanged(before, after) })
}

func (m *simulation) deliver() {
	m.events[0]()
	m.events = m.events[1:]
}

func (m *simulation) createPod(cpu int) {
	m.next++
	name := fmt.Sprintf("p%d", m.next)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)},
		Spec: corev1.PodSpec{SchedulerName: DefaultName, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(int64(cpu)*10, resource.DecimalSI)},
		}}}},
	}
	m.pods[name] = pod
	m.emitPod(nil, pod)
}

// schedule makes one attempt as the loop does, binding aside.
func (m *simulation) schedule(ctx context.Context) {
	p := m.s.queue.Pop(ctx)
	if m.s.skip(p) {
		m.s.queue.Done(p.Info.Pod.UID)
		return
	}
	a := &attempt{queued: p}
	node, failed := m.s.try(ctx, a)
	if failed != nil {
		m.s.fail(ctx, a, failed)
		return
	}
	m.bindings = append(m.bindings, binding{a, node})
}

// finish ends a binding. The API refuses it for pods that are gone, and when told to.
func (m *simulation) finish(ctx context.Context, i int, refuse bool) {
	b := m.bindings[i]
	m.bindings = slices.Delete(m.bindings, i, i+1)
	name := b.a.queued.Info.Pod.Name
	m.s.queue.Decided(types.UID(name))
	before := m.pods[name]
	if before == nil || refuse {
		m.s.unbind(ctx, b.a, b.node, framework.AsStatus(errors.New("refused")))
		return
	}
	after := before.DeepCopy()
	after.Spec.NodeName = b.node
	m.pods[name] = after
	m.emitPod(before, after)
	m.s.queue.Done(types.UID(name))
}

func (m *simulation) used(node string) (cpu int64) {
	for _, p := range m.pods {
		if p.Spec.NodeName == node {
			cpu += p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() / 10
		}
	}
	return cpu
}

// TestNeverOvercommitsAndNeverForgets: however late events and bindings are, no node ever gets more than it has, every
// decision under way stays counted, and in the end no pod waits that would fit.
func TestNeverOvercommitsAndNeverForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx, cancel := context.WithCancel(context.Background())
		client := fake.NewClientset()
		s, err := New(Config{}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
		if err != nil {
			t.Fatal(err)
		}
		s.background.start(ctx)
		defer s.background.join()
		defer cancel()
		m := &simulation{s: s, nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{}}
		t.Repeat(m.actions(ctx))
		m.settle(ctx, t)
	})
}

func (m *simulation) actions(ctx context.Context) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"createPod": func(t *rapid.T) { m.createPod(rapid.IntRange(1, 4).Draw(t, "cpu")) },
		"deletePod": func(t *rapid.T) {
			name := fmt.Sprintf("p%d", rapid.IntRange(1, max(1, m.next)).Draw(t, "pod"))
			if p := m.pods[name]; p != nil {
				delete(m.pods, name)
				m.emitPod(p, nil)
			}
		},
		"touchPod": func(t *rapid.T) {
			name := fmt.Sprintf("p%d", rapid.IntRange(1, max(1, m.next)).Draw(t, "pod"))
			if p := m.pods[name]; p != nil {
				after := p.DeepCopy()
				after.Annotations = map[string]string{"touched": "yes"}
				m.pods[name] = after
				m.emitPod(p, after)
			}
		},
		"addNode": func(t *rapid.T) {
			name := rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(t, "node")
			before := m.nodes[name]
			m.nodes[name] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: *resource.NewMilliQuantity(nodeCPU*10, resource.DecimalSI), corev1.ResourcePods: resource.MustParse("110"),
			}}}
			m.emitNode(before, m.nodes[name])
		},
		"removeNode": func(t *rapid.T) {
			name := rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(t, "node")
			if n := m.nodes[name]; n != nil {
				delete(m.nodes, name)
				m.emitNode(n, nil)
			}
		},
		"deliver": func(t *rapid.T) {
			for range rapid.IntRange(0, 5).Draw(t, "events") {
				if len(m.events) > 0 {
					m.deliver()
				}
			}
		},
		"schedule": func(*rapid.T) {
			if c := m.s.queue.Counts(); c["active"] > 0 {
				m.schedule(ctx)
			}
		},
		"finish": func(t *rapid.T) {
			if len(m.bindings) > 0 {
				m.finish(ctx, rapid.IntRange(0, len(m.bindings)-1).Draw(t, "binding"), rapid.Bool().Draw(t, "refuse"))
			}
		},
		"": func(t *rapid.T) { m.check(t) },
	}
}

func (m *simulation) check(t *rapid.T) {
	for _, node := range []string{"n1", "n2", "n3"} {
		if used := m.used(node); used > nodeCPU {
			t.Fatalf("node %s holds %d of %d", node, used, nodeCPU)
		}
	}
	for _, b := range m.bindings {
		uid := b.a.queued.Info.Pod.UID
		if _, _, placed := m.s.cache.Placed(uid); !placed && m.pods[string(uid)] != nil {
			t.Fatalf("pod %s is being bound but not counted", uid)
		}
	}
}

// settle lets everything come through and looks for pods left behind.
func (m *simulation) settle(ctx context.Context, t *rapid.T) {
	for {
		for _, p := range m.s.queue.Pending()["backoff"] {
			m.s.queue.Activate(p.UID)
		}
		switch {
		case len(m.events) > 0:
			m.deliver()
		case len(m.bindings) > 0:
			m.finish(ctx, 0, false)
		case m.s.queue.Counts()["active"] > 0:
			m.schedule(ctx)
		default:
			m.check(t)
			m.nobodyLeft(t)
			return
		}
	}
}

func (m *simulation) nobodyLeft(t *rapid.T) {
	for name, p := range m.pods {
		if p.Spec.NodeName != "" {
			continue
		}
		for node := range m.nodes {
			if m.used(node)+p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()/10 <= nodeCPU {
				t.Fatalf("pod %s waits though node %s has room", name, node)
			}
		}
	}
	if size := m.s.cache.Size(); size.AssumedPods != 0 {
		t.Fatalf("%d pods are still only assumed", size.AssumedPods)
	}
}
