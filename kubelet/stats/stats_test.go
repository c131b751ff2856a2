package stats

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"skiff/kubelet/cri"
)

// engine is a runtime with one pod whose container works half a core.
type engine struct {
	started time.Time
	asked   int
	err     error
	dir     string
}

func (e *engine) Stats(context.Context) ([]cri.PodStats, error) {
	e.asked++
	if e.err != nil {
		return nil, e.err
	}
	now := time.Now()
	used := cri.Usage{At: now, CPUTotal: now.Sub(e.started) / 2, Memory: 300, WorkingSet: 200, RSS: 100}
	return []cri.PodStats{{
		UID: "u-1", Namespace: "shop", Name: "web", Usage: used, Processes: 3,
		Interfaces: []cri.Interface{{Name: "eth0", RxBytes: 7}, {Name: "eth0", RxBytes: 7}, {Name: "eth1", RxBytes: 8}},
		Containers: []cri.ContainerStats{{ID: "c-1", Name: "main", Usage: used, RootfsBytes: 10, RootfsInodes: 1}, {ID: "c-2", Name: "side", Usage: cri.Usage{At: now}, RootfsBytes: 3}, {ID: "c-0", Name: "ended", RootfsBytes: 2}},
	}}, nil
}

func (e *engine) ImageFilesystem(context.Context) (cri.Filesystem, error) {
	return cri.Filesystem{Mountpoint: e.dir, UsedBytes: 99, Inodes: 9}, nil
}

func (e *engine) Pods() []*corev1.Pod {
	start := metav1.NewTime(e.started)
	return []*corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{UID: "u-1"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{"memory": resource.MustParse("1000")},
		}}}},
		Status: corev1.PodStatus{StartTime: &start, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: start}}},
		}},
	}}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := &engine{started: time.Now().Add(-time.Hour), dir: dir}
		p, err := New(Config{NodeName: "node-1", Root: dir}, e, e, nil)
		if err != nil {
			t.Fatal(err)
		}
		first := summary(t, p)
		if again := summary(t, p); again != first || e.asked != 1 {
			t.Errorf("two requests at once asked the runtime %d times", e.asked)
		}
		time.Sleep(10 * time.Second)
		got := summary(t, p)
		if got == first || e.asked != 2 {
			t.Error("an old answer was given")
		}
		checkNode(t, &got.Node)
		checkPod(t, &got.Pods[0], e.started)
		e.err = errors.New("the runtime is away")
		time.Sleep(10 * time.Second)
		if _, err := p.Summary(t.Context()); !errors.Is(err, e.err) {
			t.Errorf("fails with %v", err)
		}
	})
}

func summary(t *testing.T, p *Provider) *statsapi.Summary {
	t.Helper()
	got, err := p.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func checkNode(t *testing.T, node *statsapi.NodeStats) {
	t.Helper()
	if node.NodeName != "node-1" || *node.CPU.UsageCoreNanoSeconds == 0 || node.CPU.UsageNanoCores == nil || node.StartTime.IsZero() {
		t.Errorf("node %+v", node)
	}
	if m := node.Memory; *m.WorkingSetBytes == 0 || *m.WorkingSetBytes > *m.UsageBytes || *m.AvailableBytes == 0 {
		t.Errorf("memory %+v", m)
	}
	if *node.Fs.CapacityBytes == 0 || *node.Runtime.ImageFs.UsedBytes != 99 || *node.Rlimit.MaxPID == 0 {
		t.Errorf("filesystem %+v", node.Fs)
	}
}

func checkPod(t *testing.T, pod *statsapi.PodStats, started time.Time) {
	t.Helper()
	if pod.PodRef.Name != "web" || !pod.StartTime.Time.Equal(started) || *pod.ProcessStats.ProcessCount != 3 {
		t.Errorf("pod %+v", pod)
	}
	if len(pod.Containers) != 2 {
		t.Errorf("%d containers, want those that run", len(pod.Containers))
	}
	main := pod.Containers[0]
	if *main.CPU.UsageNanoCores != 500_000_000 || !main.StartTime.Time.Equal(started) {
		t.Errorf("the container works %d billionths of a core", *main.CPU.UsageNanoCores)
	}
	if *main.Memory.AvailableBytes != 800 || *pod.Memory.AvailableBytes != 800 || pod.Containers[1].Memory.AvailableBytes != nil {
		t.Errorf("memory %+v", main.Memory)
	}
	if len(pod.Network.Interfaces) != 2 || pod.Network.Name != "eth0" || *pod.EphemeralStorage.UsedBytes != 15 {
		t.Errorf("network %+v, storage %d", pod.Network, *pod.EphemeralStorage.UsedBytes)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	r, at := rates{}, time.Unix(0, 0)
	if got := r.next("a", at, time.Second); got != nil {
		t.Errorf("the first rate is %d", *got)
	}
	if got := r.next("a", at.Add(2*time.Second), 2*time.Second); got == nil || *got != 500_000_000 {
		t.Errorf("the rate is %v", got)
	}
	// The same reading again, and a counter that began anew.
	if got := r.next("a", at.Add(2*time.Second), 2*time.Second); got == nil || *got != 500_000_000 {
		t.Errorf("the rate of one reading is %v", got)
	}
	r.forgetUnused()
	r.forgetUnused()
	if len(r) != 0 {
		t.Errorf("kept %v", r)
	}
}

func TestHostFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"stat":      "cpu  100 50 30 1000 200 5 5 10 999 999\ncpu0 1 1 1 1\nbtime 1700000000\n",
		"meminfo":   "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n",
		"vmstat":    "pgfault 11\npgmajfault 2\n",
		"net/dev":   "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  ens3: 10 1 2 0 0 0 0 0 30 1 4 0 0 0 0 0\nveth1: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n",
		"net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU\nens3\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := host{proc: dir}
	if got, err := h.cpu(); err != nil || got != 2*time.Second {
		t.Errorf("worked %v (%v)", got, err)
	}
	if got, err := h.bootTime(); err != nil || got.Unix() != 1700000000 {
		t.Errorf("booted %v (%v)", got, err)
	}
	memory, swap, err := h.memory()
	if err != nil || *memory.UsageBytes != 600<<10 || *memory.WorkingSetBytes != 500<<10 || *memory.AvailableBytes != 500<<10 || *memory.PageFaults != 11 || *swap.SwapUsageBytes != 6<<10 {
		t.Errorf("memory %+v, swap %+v (%v)", memory, swap, err)
	}
	network, err := h.network(metav1.Time{})
	if err != nil || network.Name != "ens3" || *network.RxBytes != 10 || *network.TxErrors != 4 || len(network.Interfaces) != 1 {
		t.Errorf("network %+v (%v)", network, err)
	}
}
