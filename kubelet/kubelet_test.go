package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/kubelet/env"
	"skiff/kubelet/evict"
	"skiff/kubelet/internal/nodetest"
	"skiff/kubelet/pod"
	"skiff/kubelet/volumes"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }

const nodeName = "node"

// fixture is a kubelet on a real runtime and an API in memory.
type fixture struct {
	t       *testing.T
	node    *nodetest.Node
	client  *fake.Clientset
	root    string
	network pod.Network // what the kubelet asks before containers start; nil for nobody
	kubelet *Kubelet
	stop    context.CancelFunc
	ended   chan error
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, node: nodetest.Start(t), client: fake.NewClientset(), root: filepath.Join(t.TempDir(), "k")}
	f.boot()
	t.Cleanup(func() { f.halt() })
	return f
}

// boot starts a kubelet on what is there.
func (f *fixture) boot() {
	f.t.Helper()
	factory := informers.NewSharedInformerFactory(f.client, 0)
	allocatable := func() corev1.ResourceList { return nil }
	mounts, err := volumes.New(volumes.Config{Root: f.root}, volumes.Deps{Client: f.client, Informers: factory, Allocatable: allocatable})
	if err != nil {
		f.t.Fatal(err)
	}
	k, err := New(Config{
		NodeName: nodeName, NodeIPs: []string{"10.99.0.1"}, Root: f.root, CgroupRoot: nodetest.CgroupRoot(),
		ClusterDNS: []string{"10.96.0.10"}, PauseImage: nodetest.PauseImage, Eviction: &evict.Thresholds{},
	}, Deps{
		Client: f.client, Informers: factory, Runtime: f.node.CRI, Volumes: mounts, Network: f.network,
		Environment: env.New(env.Deps{Client: f.client, Informers: factory, Allocatable: allocatable}),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	f.kubelet, f.stop, f.ended = k, cancel, make(chan error, 2)
	factory.StartWithContext(ctx)
	go func() { f.ended <- mounts.Run(ctx) }()
	go func() { f.ended <- k.Run(ctx) }()
	select {
	case <-k.Ready():
	case err := <-f.ended:
		f.t.Fatalf("the kubelet ended: %v", err)
	case <-time.After(20 * time.Second):
		f.t.Fatal("the kubelet is not ready after 20 s")
	}
}

// halt ends the kubelet and leaves its containers.
func (f *fixture) halt() {
	f.t.Helper()
	begun := time.Now()
	f.stop()
	for range 2 {
		select {
		case err := <-f.ended:
			if err != nil {
				f.t.Errorf("the kubelet ended: %v", err)
			}
		case <-time.After(10 * time.Second):
			f.t.Fatal("the kubelet has not ended after 10 s")
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		f.t.Errorf("the kubelet took %v to end", took)
	}
}

// pod is a pod of one busybox container that runs a shell script.
func newPod(name, script string, change ...func(*corev1.Pod)) *corev1.Pod {
	one := int64(2)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: nodeName, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, TerminationGracePeriodSeconds: &one,
			EnableServiceLinks: new(bool),
			Containers:         []corev1.Container{shell("c", script)},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func shell(name, script string) corev1.Container {
	return corev1.Container{
		Name: name, Image: nodetest.BusyBox, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", script},
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
}

// forever ends at once when it is told to.
const forever = "trap 'exit 0' TERM; while true; do sleep 0.05; done"

func (f *fixture) create(p *corev1.Pod) *corev1.Pod {
	f.t.Helper()
	out, err := f.client.CoreV1().Pods(p.Namespace).Create(f.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// delete does what the API does with a pod that runs: it sets the deletion timestamp.
func (f *fixture) delete(name string) {
	f.t.Helper()
	pods := f.client.CoreV1().Pods("default")
	p, err := pods.Get(f.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	now := metav1.Now()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, p.Spec.TerminationGracePeriodSeconds
	if _, err := pods.Update(f.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

// await waits until the pod is as wanted; nil stands for a pod that is gone.
func (f *fixture) await(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	f.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	var last *corev1.Pod
	for time.Now().Before(deadline) {
		p, err := f.client.CoreV1().Pods("default").Get(f.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			p = nil
		}
		if ok(p) {
			return p
		}
		last = p
		time.Sleep(5 * time.Millisecond)
	}
	text := "gone"
	if last != nil {
		text = fmt.Sprintf("%+v", last.Status)
	}
	f.t.Fatalf("pod %s is not %s: %s\nevents:\n%s", name, what, text, f.events(name))
	return nil
}

func (f *fixture) events(name string) string {
	list, err := f.client.CoreV1().Events("default").List(f.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	out := ""
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name {
			out += fmt.Sprintf("%s %s %s x%d: %s\n", e.Type, e.Reason, e.InvolvedObject.FieldPath, e.Count, e.Message)
		}
	}
	return out
}

func ready(p *corev1.Pod) bool {
	if p == nil || p.Status.Phase != corev1.PodRunning {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func gone(p *corev1.Pod) bool { return p == nil }

func TestPodRunsSurvivesAndEnds(t *testing.T) {
	f := start(t)
	begun := time.Now()
	f.create(newPod("one", forever))
	p := f.await("one", "ready", ready)
	t.Logf("create to ready: %v", time.Since(begun))
	if p.Status.PodIP == "" || p.Status.HostIP != "10.99.0.1" || p.Status.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("status %+v", p.Status)
	}
	id := p.Status.ContainerStatuses[0].ContainerID

	f.halt()
	f.boot()
	p = f.await("one", "ready", ready)
	if got := p.Status.ContainerStatuses[0]; got.ContainerID != id || got.RestartCount != 0 {
		t.Errorf("the restart of the kubelet changed the container: %+v", got)
	}

	begun = time.Now()
	f.delete("one")
	f.await("one", "gone", gone)
	t.Logf("delete to gone: %v", time.Since(begun))
	t.Log(f.events("one"))
}
