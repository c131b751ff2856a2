package node

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"skiff/kubelet/cri"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a runtime whose state tests set.
type engine struct {
	mu     sync.Mutex
	status cri.Status
	err    error
}

func (e *engine) set(status cri.Status, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status, e.err = status, err
}

func (e *engine) Status(context.Context) (cri.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status, e.err
}

func (e *engine) Version(context.Context) (name, version string, err error) {
	return "containerd", "v2.4.2", nil
}

func (e *engine) Images(context.Context) ([]cri.Image, error) {
	return []cri.Image{{ID: "a", Tags: []string{"small:1"}, Size: 1}, {ID: "b", Tags: []string{"large:1"}, RepoDigests: []string{"large@sha256:1"}, Size: 2}}, nil
}

const noNetwork = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"

// fixture is a reporter in a synctest bubble.
type fixture struct {
	*Reporter
	client   *fake.Clientset
	engine   *engine
	events   *record.FakeRecorder
	pressure Pressure
}

func start(t *testing.T, config Config, client *fake.Clientset) (f *fixture, ctx context.Context) {
	t.Helper()
	f = &fixture{client: client, engine: &engine{}, events: record.NewFakeRecorder(1000)}
	f.engine.set(cri.Status{RuntimeReady: true, Reason: noNetwork}, nil)
	config.Name, config.Root, config.IPs = "node-1", os.TempDir(), []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	factory := informers.NewSharedInformerFactory(f.client, 0)
	reporter, err := New(config, Deps{
		Client: f.client, Informers: factory, Runtime: f.engine, Images: f.engine, Events: f.events,
		Pressure: func() Pressure { return f.pressure },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Reporter = reporter
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- reporter.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return f, ctx
}

func (f *fixture) node(t *testing.T) *corev1.Node {
	t.Helper()
	node, err := f.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// told answers the reasons of the events since the last call.
func (f *fixture) told() []string {
	var reasons []string
	for {
		select {
		case event := <-f.events.Events:
			reasons = append(reasons, strings.Fields(event)[1])
		default:
			return reasons
		}
	}
}

func (f *fixture) statusPatches() int {
	count := 0
	for _, action := range f.client.Actions() {
		if action.Matches("patch", "nodes/status") || action.GetVerb() == "patch" && action.GetSubresource() == "status" {
			count++
		}
	}
	return count
}

func TestNodeBecomesReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := start(t, Config{Port: 10250, Version: "v1.37.2+skiff", Labels: map[string]string{"zone": "a"}}, fake.NewClientset())
		time.Sleep(time.Second)
		synctest.Wait()
		node := f.node(t)
		for key, want := range map[string]string{
			"kubernetes.io/hostname": "node-1", "kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux", "zone": "a",
		} {
			if node.Labels[key] != want {
				t.Errorf("label %s is %q", key, node.Labels[key])
			}
		}
		if node.Annotations["volumes.kubernetes.io/controller-managed-attach-detach"] != "true" {
			t.Errorf("annotations %v", node.Annotations)
		}
		expectCondition(t, node, corev1.NodeReady, "False", "KubeletNotReady", noNetwork)
		expectCondition(t, node, corev1.NodeMemoryPressure, "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
		expectCondition(t, node, corev1.NodeDiskPressure, "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
		expectCondition(t, node, corev1.NodePIDPressure, "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available")
		if got := f.told(); !slices.Equal(got, []string{"Starting", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"}) {
			t.Errorf("events %v", got)
		}
		f.engine.set(cri.Status{RuntimeReady: true, NetworkReady: true, Handlers: []cri.Handler{{Name: "runc"}, {Name: ""}}}, nil)
		time.Sleep(startInterval + time.Millisecond)
		synctest.Wait()
		node = f.node(t)
		expectCondition(t, node, corev1.NodeReady, "True", "KubeletReady", "kubelet is posting ready status")
		if got := f.told(); !slices.Equal(got, []string{"NodeReady"}) || !f.Ready() {
			t.Errorf("events %v, ready %v", got, f.Ready())
		}
		expectInfo(t, node)
	})
}

func expectInfo(t *testing.T, node *corev1.Node) {
	t.Helper()
	info := node.Status.NodeInfo
	if info.ContainerRuntimeVersion != "containerd://2.4.2" || info.KubeletVersion != "v1.37.2+skiff" || info.KernelVersion == "" || info.BootID == "" {
		t.Errorf("node info %+v", info)
	}
	want := []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.7"}, {Type: "Hostname", Address: "node-1"}}
	if !slices.Equal(node.Status.Addresses, want) || node.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 {
		t.Errorf("addresses %v, port %d", node.Status.Addresses, node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	}
	if images := node.Status.Images; len(images) != 2 || images[0].SizeBytes != 2 || !slices.Equal(images[0].Names, []string{"large@sha256:1", "large:1"}) {
		t.Errorf("images %v", images)
	}
	if len(node.Status.RuntimeHandlers) != 2 || node.Status.RuntimeHandlers[1].Name != "runc" {
		t.Errorf("handlers %v", node.Status.RuntimeHandlers)
	}
}

func expectCondition(t *testing.T, node *corev1.Node, kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) {
	t.Helper()
	c := find(node.Status.Conditions, kind)
	if c == nil || c.Status != status || c.Reason != reason || c.Message != message {
		t.Errorf("condition %s is %+v, want %s %s %q", kind, c, status, reason, message)
	}
}

func TestStatusIsReportedOnChangeAndNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := start(t, Config{}, fake.NewClientset())
		f.engine.set(cri.Status{RuntimeReady: true, NetworkReady: true}, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		before := f.statusPatches()
		f.told()
		ready := find(f.node(t).Status.Conditions, corev1.NodeReady).LastTransitionTime
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if got := f.statusPatches() - before; got > 1 {
			t.Errorf("%d reports in four minutes without a change", got)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := f.statusPatches() - before; got == 0 {
			t.Error("no report in nine minutes")
		}
		if now := find(f.node(t).Status.Conditions, corev1.NodeReady); !now.LastTransitionTime.Equal(&ready) || !now.LastHeartbeatTime.After(ready.Time) {
			t.Errorf("transition %v and heartbeat %v, ready since %v", now.LastTransitionTime, now.LastHeartbeatTime, ready)
		}
		f.pressure.Memory = true
		f.Poke()
		synctest.Wait()
		expectCondition(t, f.node(t), corev1.NodeMemoryPressure, "True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
		f.engine.set(cri.Status{}, errors.New("connection refused"))
		f.Poke()
		synctest.Wait()
		expectCondition(t, f.node(t), corev1.NodeReady, "False", "KubeletNotReady", "container runtime is down")
		if got := f.told(); !slices.Equal(got, []string{"NodeHasInsufficientMemory", "NodeNotReady"}) {
			t.Errorf("events %v", got)
		}
	})
}

func TestLeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := start(t, Config{}, fake.NewClientset())
		time.Sleep(time.Second)
		synctest.Wait()
		lease, err := f.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if *lease.Spec.HolderIdentity != "node-1" || *lease.Spec.LeaseDurationSeconds != 40 {
			t.Errorf("lease %+v", lease.Spec)
		}
		before := lease.Spec.RenewTime.Time
		for range 5 {
			time.Sleep(11 * time.Second)
			synctest.Wait()
			lease, err = f.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !lease.Spec.RenewTime.After(before) {
				t.Fatalf("not renewed since %v", before)
			}
			before = lease.Spec.RenewTime.Time
		}
	})
}

func TestPodCIDRIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := start(t, Config{}, fake.NewClientset())
		found := make(chan []netip.Prefix, 1)
		go func() {
			cidrs, err := f.PodCIDRs(ctx)
			if err != nil {
				t.Error(err)
			}
			found <- cidrs
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		node := f.node(t)
		node.Spec.PodCIDR, node.Spec.PodCIDRs, node.ResourceVersion = "10.244.3.0/24", []string{"10.244.3.0/24"}, "999"
		if _, err := f.client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := <-found; len(got) != 1 || got[0].String() != "10.244.3.0/24" {
			t.Errorf("pod CIDRs %v", got)
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := (&Reporter{latest: newLatest()}).PodCIDRs(short); !errors.Is(err, context.Canceled) {
			t.Errorf("waiting in vain ends with %v", err)
		}
	})
}

func TestRegisteringIsTriedAgainAndKeepsWhatExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		existing := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "kept", Labels: map[string]string{"custom": "x", "kubernetes.io/os": "wrong"}},
			Spec:       corev1.NodeSpec{Unschedulable: true, PodCIDR: "10.244.9.0/24"},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: "NetworkUnavailable", Status: "False", Reason: "RouteCreated"},
			}},
		}
		failures := 3
		client := fake.NewClientset(existing)
		client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			if failures--; failures >= 0 {
				return true, nil, errors.New("the API is not up yet")
			}
			return false, nil, nil
		})
		f, _ := start(t, Config{}, client)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		node := f.node(t)
		if node.UID != "kept" || node.Labels["custom"] != "x" || node.Labels["kubernetes.io/os"] != "linux" || !node.Spec.Unschedulable {
			t.Errorf("the node became %+v", node)
		}
		if find(node.Status.Conditions, "NetworkUnavailable") == nil || find(node.Status.Conditions, corev1.NodeReady) == nil {
			t.Errorf("conditions %v", node.Status.Conditions)
		}
	})
}

func TestAllocatable(t *testing.T) {
	t.Parallel()
	m := machine{cpus: 4, memory: 8 << 30, storage: 100 << 30, hugePages: map[string]int64{"2Mi": 1 << 30, "1Gi": 0}}
	config := withDefaults(Config{Name: "n", Reserved: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("1Gi"), "example.com/gpu": resource.MustParse("1")}})
	capacity := capacityOf(config, m)
	for name, want := range map[corev1.ResourceName]string{
		"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi", "hugepages-2Mi": "1Gi", "hugepages-1Gi": "0",
	} {
		if q := capacity[name]; q.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("capacity of %s is %s", name, q.String())
		}
	}
	got := allocatableOf(config, m, capacity)
	for name, want := range map[corev1.ResourceName]string{
		"cpu": "3500m", "memory": "6044Mi", "pods": "110", "ephemeral-storage": "90Gi", "hugepages-2Mi": "1Gi",
	} {
		if q := got[name]; q.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("allocatable of %s is %s, want %s", name, q.String(), want)
		}
	}
	tiny := machine{cpus: 1, memory: 1 << 20}
	if q := allocatableOf(config, tiny, capacityOf(config, tiny))["memory"]; q.Sign() != 0 {
		t.Errorf("a tiny machine has %s", q.String())
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/machine-id": "abc\n", "proc/sys/kernel/random/boot_id": "boot\n", "proc/sys/kernel/osrelease": "6.1.0\n",
		"usr/lib/os-release": "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", "sys/devices/system/cpu/online": "0-2,7\n",
		"proc/meminfo": "MemTotal:       1024 kB\nMemFree: 1 kB\nSwapTotal: 512 kB\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":    "3\n",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readMachine(root, root)
	if err != nil {
		t.Fatal(err)
	}
	if m.machineID != "abc" || m.systemUUID != "abc" || m.bootID != "boot" || m.kernel != "6.1.0" || m.osImage != "Debian GNU/Linux 13 (trixie)" {
		t.Errorf("read %+v", m)
	}
	if m.cpus != 4 || m.memory != 1<<20 || m.swap != 1<<19 || m.storage == 0 || m.hugePages["2Mi"] != 6<<20 || len(m.hugePages) != 2 {
		t.Errorf("read %+v", m)
	}
	if _, err := readMachine(t.TempDir(), root); err == nil {
		t.Error("a machine without memory was accepted")
	}
}

func TestStatusPatchReplacesAddresses(t *testing.T) {
	t.Parallel()
	node := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.1"}}}}
	wanted := corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.2"}, {Type: "InternalIP", Address: "2001:db8::2"}}}
	patch, err := statusPatch(node, wanted)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.2"},{"type":"InternalIP","address":"2001:db8::2"},{"$patch":"replace"}]}}`
	if string(patch) != want {
		t.Errorf("the patch is %s, want %s", patch, want)
	}
}
