package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// kubelets are those of a test: each node uses half a processor.
type kubelets struct {
	mu     sync.Mutex
	asked  map[string]int
	dead   map[string]bool // never answer
	broken map[string]bool // answer an error
}

func (k *kubelets) ResourceMetrics(ctx context.Context, node string) (io.ReadCloser, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[node]++
	if k.broken[node] {
		return nil, errors.New("connection refused")
	}
	if k.dead[node] {
		k.mu.Unlock()
		<-ctx.Done()
		k.mu.Lock()
		return nil, ctx.Err()
	}
	at := time.Now()
	cpu := float64(at.UnixMilli()) / 2000
	return io.NopCloser(strings.NewReader(fmt.Sprintf("node_cpu_usage_seconds_total %f %d\nnode_memory_working_set_bytes 1000\n", cpu, at.UnixMilli()))), nil
}

func (k *kubelets) times(node string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked[node]
}

// bed is a sampler that runs in a bubble.
type bed struct {
	*sampler
	kubelets *kubelets
	nodes    cache.Indexer
}

func start(t *testing.T, names ...string) *bed {
	t.Helper()
	b := &bed{
		kubelets: &kubelets{asked: map[string]int{}, dead: map[string]bool{}, broken: map[string]bool{}},
		nodes:    cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
	}
	for _, name := range names {
		b.join(t, name, 10250, corev1.ConditionTrue)
	}
	b.sampler = newSampler(b.kubelets, corelisters.NewNodeLister(b.nodes))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return b
}

func (b *bed) join(t *testing.T, name string, port int32, ready corev1.ConditionStatus) {
	t.Helper()
	err := b.nodes.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// ask answers the rates of nodes, in thousandths of a processor, and how long that took.
func (b *bed) ask(t *testing.T) (map[string]int64, time.Duration) {
	t.Helper()
	before := time.Now()
	out := map[string]int64{}
	for name, h := range b.current(t.Context()) {
		if m, ok := h.nodeMetrics(&corev1.Node{}, time.Now()); ok {
			out[name] = m.Usage.Cpu().MilliValue()
		}
	}
	return out, time.Since(before)
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "a", "b")
		pass(time.Hour)
		if n := b.kubelets.times("a"); n != 0 {
			t.Errorf("asked %d times before anybody wanted to know", n)
		}
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if got, took := b.ask(t); got["a"] != 500 || got["b"] != 500 || took != gap {
					t.Errorf("got %v after %v, want 500 each after %v", got, took, gap)
				}
			})
		}
		group.Wait()
		if n := b.kubelets.times("a"); n != 2 {
			t.Errorf("asked %d times for the first answers, want 2", n)
		}
		if got, took := b.ask(t); got["a"] != 500 || took != 0 {
			t.Errorf("the next answer is %v after %v", got, took)
		}
	})
}

func TestSamplingRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "a")
		b.ask(t)
		for range 20 {
			pass(resolution)
			if got, took := b.ask(t); got["a"] != 500 || took != 0 {
				t.Fatalf("got %v after %v", got, took)
			}
		}
		if n := b.kubelets.times("a"); n != 22 {
			t.Errorf("asked %d times, want once in %v", n, resolution)
		}
		pass(idle + resolution)
		n := b.kubelets.times("a")
		pass(time.Hour)
		if more := b.kubelets.times("a") - n; more != 0 {
			t.Errorf("asked %d times although nobody wants to know", more)
		}
		b.mu.Lock()
		if len(b.known) != 0 {
			t.Errorf("%d nodes are kept", len(b.known))
		}
		b.mu.Unlock()
		if got, took := b.ask(t); got["a"] != 500 || took != gap {
			t.Errorf("awake again: got %v after %v", got, took)
		}
	})
}

func TestNodesThatDontAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "a", "silent", "refusing")
		b.kubelets.dead["silent"], b.kubelets.broken["refusing"] = true, true
		b.join(t, "hollow", 0, corev1.ConditionTrue)
		for i := range 2 * parallel { // of which none may take the ready nodes' turn
			name := fmt.Sprint("0-gone-", i)
			b.join(t, name, 10250, corev1.ConditionFalse)
			b.kubelets.dead[name] = true
		}
		got, took := b.ask(t)
		if len(got) != 1 || got["a"] != 500 || took > firstTimeout+gap {
			t.Errorf("got %v after %v", got, took)
		}
		if n := b.kubelets.times("hollow"); n != 0 {
			t.Errorf("a node without a kubelet is asked %d times", n)
		}
		b.kubelets.mu.Lock()
		delete(b.kubelets.dead, "silent")
		b.kubelets.mu.Unlock()
		pass(2*resolution + 2*gap)
		if got, took := b.ask(t); got["silent"] != 500 || got["a"] != 500 || took != 0 {
			t.Errorf("after a while: got %v after %v", got, took)
		}
	})
}

func TestNodesThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		if got, took := b.ask(t); len(got) != 0 || took > gap {
			t.Errorf("without nodes: got %v after %v", got, took)
		}
		b.join(t, "a", 10250, corev1.ConditionTrue)
		if got, took := b.ask(t); got["a"] != 500 || took != gap {
			t.Errorf("the first node: got %v after %v", got, took)
		}
		b.join(t, "b", 10250, corev1.ConditionTrue)
		pass(resolution + gap)
		if got, _ := b.ask(t); got["a"] != 500 || got["b"] != 500 {
			t.Errorf("two nodes: got %v", got)
		}
		b.kubelets.mu.Lock()
		b.kubelets.broken["b"] = true
		b.kubelets.mu.Unlock()
		pass(resolution)
		if got, _ := b.ask(t); got["b"] != 500 {
			t.Errorf("one sample was lost: got %v", got)
		}
		pass(stale)
		if got, _ := b.ask(t); got["a"] != 500 || len(got) != 1 {
			t.Errorf("a node is gone: got %v", got)
		}
	})
}

// TestAskedOfAStoppedServer is about a request that comes when nothing samples any more.
func TestAskedOfAStoppedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSampler(&kubelets{asked: map[string]int{}}, corelisters.NewNodeLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})))
		before := time.Now()
		if known := s.current(t.Context()); len(known) != 0 || time.Since(before) != patience {
			t.Errorf("got %v after %v", known, time.Since(before))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before = time.Now()
		if s.current(ctx); time.Since(before) != 0 {
			t.Error("a request that has ended waits")
		}
	})
}
