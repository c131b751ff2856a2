package kubelet

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/kubelet/internal/nodetest"
)

// gate is a network that admits no pod until it is open.
type gate struct {
	mu    sync.Mutex
	asked map[string][]string // addresses by pod
	open  bool
}

func (g *gate) Admit(_ context.Context, pod *corev1.Pod, ips []string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[pod.Name] = ips
	if !g.open {
		return errors.New("the gate is closed")
	}
	return nil
}

// TestNetworkAdmitsBeforeStart: no container runs before the network judges its pod's packets, and users see why it waits.
func TestNetworkAdmitsBeforeStart(t *testing.T) {
	g := &gate{asked: map[string][]string{}}
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
}
