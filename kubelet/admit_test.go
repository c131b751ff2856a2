package kubelet

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/kubelet/cri"
	"skiff/kubelet/internal/nodetest"
)

// gate is a network that admits no pod until it is open.
type gate struct {
	mu    sync.Mutex
	asked map[string][]string // addresses by pod
	held  map[string][]string // likewise, until their release
	open  bool
	// releasing is called at each release; nil for nothing.
	releasing func()
}

func newGate() *gate { return &gate{asked: map[string][]string{}, held: map[string][]string{}} }

func (g *gate) Hold(pod *corev1.Pod, ips []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[pod.Name] = ips
}

func (g *gate) Release(pod *corev1.Pod) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.releasing != nil {
		g.releasing()
	}
	delete(g.held, pod.Name)
}

// holds reports whether the pod's address is as wanted; "" for none.
func (g *gate) holds(pod, ip string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	ips := g.held[pod]
	return ip == "" && len(ips) == 0 || len(ips) > 0 && ips[0] == ip
}

func (g *gate) Admit(_ context.Context, pod *corev1.Pod, ips []string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[pod.Name], g.held[pod.Name] = ips, ips
	if !g.open {
		return errors.New("the gate is closed")
	}
	return nil
}

// TestNetworkAdmitsBeforeStart: no container runs before the network judges its pod's packets, and users see why it waits.
func TestNetworkAdmitsBeforeStart(t *testing.T) {
	g := newGate()
	f := &fixture{t: t, node: nodetest.Start(t), client: fake.NewClientset(), root: filepath.Join(t.TempDir(), "k"), network: g}
	f.boot()
	t.Cleanup(func() { f.halt() })
	f.create(newPod("p", forever))
	f.create(newPod("host", forever, func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	f.await("host", "ready", ready)
	p := f.await("p", "waiting for the network", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Message, "the gate is closed")
	})
	if reason := p.Status.ContainerStatuses[0].State.Waiting.Reason; reason != "CreateContainerError" || p.Status.PodIP == "" {
		t.Errorf("waits for %s, address %q", reason, p.Status.PodIP)
	}
	g.mu.Lock()
	ips, host := g.asked["p"], g.asked["host"]
	g.open = true
	g.mu.Unlock()
	if len(ips) == 0 || ips[0] != p.Status.PodIP {
		t.Errorf("asked for %v, the pod has %s", ips, p.Status.PodIP)
	} else if _, err := netip.ParseAddr(ips[0]); err != nil {
		t.Error(err)
	}
	if len(host) > 0 {
		t.Errorf("asked for a pod on the host's network: %v", host)
	}
	f.await("p", "ready", ready)
	for _, name := range []string{"p", "host"} {
		f.delete(name)
		f.await(name, "gone", gone)
	}
	f.await("p", "released", func(*corev1.Pod) bool { return g.holds("p", "") })
}

// TestNetworkHoldsAddresses: the network hears of the addresses of pods that run already when the node's agent starts, and
// has them until nothing of the pod runs any more, even if its object is gone before.
func TestNetworkHoldsAddresses(t *testing.T) {
	g := newGate()
	g.open = true
	f := &fixture{t: t, node: nodetest.Start(t), client: fake.NewClientset(), root: filepath.Join(t.TempDir(), "k"), network: g}
	f.boot()
	t.Cleanup(func() { f.halt() })
	f.create(newPod("p", "trap '' TERM; while true; do sleep 0.05; done"))
	p := f.await("p", "ready", ready)
	f.halt()
	g.Release(p)
	f.boot()
	f.await("p", "held after a restart", func(*corev1.Pod) bool { return g.holds("p", p.Status.PodIP) })
	early := make(chan struct{}, 100)
	g.mu.Lock()
	g.releasing = func() {
		containers, err := f.node.CRI.Containers(t.Context(), string(p.UID))
		if err != nil || slices.ContainsFunc(containers, func(c cri.Container) bool { return c.State == cri.Running }) {
			early <- struct{}{}
		}
	}
	g.mu.Unlock()
	if err := f.client.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.await("p", "released", func(*corev1.Pod) bool { return g.holds("p", "") })
	if len(early) > 0 {
		t.Error("the address was released while the pod runs")
	}
}
