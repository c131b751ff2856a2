package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"skiff/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a fake API with a scheduler running against it.
type cluster struct {
	t      *testing.T
	ctx    context.Context
	client *fake.Clientset
	sched  *scheduler.Scheduler
	mu     sync.Mutex
	// bindFails answers the error of the n-th binding.
	bindFails func(n int) error
	bindings  int
	uid       int
}

// start runs a scheduler over the objects; it and its informers end with the test.
func start(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	return startWith(t, scheduler.Config{}, objects...)
}

// startWith runs one of a configuration, with short backoffs.
func startWith(t *testing.T, cfg scheduler.Config, objects ...runtime.Object) *cluster {
	t.Helper()
	cfg.InitialBackoff, cfg.MaxBackoff = 10*time.Millisecond, 50*time.Millisecond
	c := &cluster{t: t, client: fake.NewClientset(objects...)}
	c.client.PrependReactor("create", "pods", c.bind)
	ctx, cancel := context.WithCancel(t.Context())
	c.ctx = ctx
	factory := informers.NewSharedInformerFactory(c.client, 0)
	sched, err := scheduler.New(cfg, scheduler.Deps{Client: c.client, Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	c.sched = sched
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- sched.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		factory.Shutdown()
	})
	return c
}

// bind does what the API server does on a binding, or fails as told.
func (c *cluster) bind(action k8stesting.Action) (bool, runtime.Object, error) {
	if action.GetSubresource() != "binding" {
		return false, nil, nil
	}
	binding := action.(k8stesting.CreateAction).GetObject().(*corev1.Binding)
	c.mu.Lock()
	n := c.bindings
	c.bindings++
	fails := c.bindFails
	c.mu.Unlock()
	if fails != nil {
		if err := fails(n); err != nil {
			return true, nil, err
		}
	}
	return true, binding, c.place(binding.Namespace, binding.Name, binding.Target.Name)
}

func (c *cluster) place(namespace, name, node string) error {
	gvr := corev1.SchemeGroupVersion.WithResource("pods")
	object, err := c.client.Tracker().Get(gvr, namespace, name)
	if err != nil {
		return err
	}
	pod := object.(*corev1.Pod).DeepCopy()
	if pod.Spec.NodeName != "" {
		return apierrors.NewConflict(gvr.GroupResource(), name, fmt.Errorf("pod is assigned to node %q", pod.Spec.NodeName))
	}
	pod.Spec.NodeName = node
	return c.client.Tracker().Update(gvr, pod, namespace)
}

func (c *cluster) create(pod *corev1.Pod) *corev1.Pod {
	c.t.Helper()
	c.uid++
	pod.UID = types.UID(fmt.Sprintf("uid-%d", c.uid))
	created, err := c.client.CoreV1().Pods(pod.Namespace).Create(c.ctx, pod, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return created
}

func (c *cluster) pod(name string) *corev1.Pod {
	c.t.Helper()
	pod, err := c.client.CoreV1().Pods("default").Get(c.ctx, name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return pod
}

// eventually waits for a condition of the API.
func (c *cluster) eventually(what string, cond func() bool) {
	c.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("not in time: %s", what)
		}
	}
}

func (c *cluster) onNode(name, node string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("pod %s on node %s", name, node), func() bool { return c.pod(name).Spec.NodeName == node })
}

// waitsWith waits for the PodScheduled condition to say msg.
func (c *cluster) waitsWith(name, reason, msg string) {
	c.t.Helper()
	var last string
	c.eventually(fmt.Sprintf("pod %s waiting with %q (last: %q)", name, msg, last), func() bool {
		for _, cond := range c.pod(name).Status.Conditions {
			if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse && cond.Reason == reason {
				if last != cond.Message {
					last = cond.Message
					c.t.Log(last)
				}
				return cond.Message == msg
			}
		}
		return false
	})
}

func (c *cluster) event(reason, note string) {
	c.t.Helper()
	c.eventBy("default-scheduler", reason, note)
}

// eventBy waits for an event of a profile.
func (c *cluster) eventBy(profile, reason, note string) {
	c.t.Helper()
	c.eventually("event "+reason+": "+note, func() bool {
		events, err := c.client.EventsV1().Events("default").List(c.ctx, metav1.ListOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range events.Items {
			if e.Reason == reason && e.Note == note && e.ReportingController == profile {
				return true
			}
		}
		return false
	})
}

func node(name, cpu string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
		}},
	}
}

func pod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{SchedulerName: "default-scheduler", Containers: []corev1.Container{{
			Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		}}},
	}
}

func TestSchedulesAndSaysSo(t *testing.T) {
	c := start(t, node("n1", "2"))
	c.create(pod("a", "1"))
	c.onNode("a", "n1")
	c.event("Scheduled", "Successfully assigned default/a to n1")
}

func TestLeavesOthersAlone(t *testing.T) {
	c := start(t, node("n1", "2"))
	other := pod("other", "1")
	other.Spec.SchedulerName = "another"
	c.create(other)
	c.create(pod("a", "1"))
	c.onNode("a", "n1")
	if got := c.pod("other"); got.Spec.NodeName != "" || len(got.Status.Conditions) > 0 {
		t.Errorf("the pod of another scheduler was touched: %v", got)
	}
}

func TestExplainsWhyThereIsNoNode(t *testing.T) {
	tainted := node("n2", "4")
	tainted.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
	tainted3 := tainted.DeepCopy()
	tainted3.Name = "n3"
	c := start(t, node("n1", "1"), tainted, tainted3)
	c.create(pod("first", "800m"))
	c.onNode("first", "n1")
	c.create(pod("a", "500m"))
	const msg = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). " +
		"preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
	c.waitsWith("a", "Unschedulable", msg)
	c.event("FailedScheduling", msg)
}

func TestNoNodesAtAll(t *testing.T) {
	c := start(t)
	c.create(pod("a", "1"))
	c.waitsWith("a", "Unschedulable", "no nodes available to schedule pods")
	if _, err := c.client.CoreV1().Nodes().Create(c.ctx, node("n1", "2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.onNode("a", "n1")
}

func TestPodIsTriedAgainWhenRoomAppears(t *testing.T) {
	c := start(t, node("n1", "1"))
	c.create(pod("a", "1"))
	c.onNode("a", "n1")
	c.create(pod("b", "1"))
	c.waitsWith("b", "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu. "+
		"preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	if err := c.client.CoreV1().Pods("default").Delete(c.ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.onNode("b", "n1")
}

func TestRequestBeyondEveryNode(t *testing.T) {
	c := start(t, node("n1", "1"))
	c.create(pod("a", "7"))
	c.waitsWith("a", "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu. "+
		"preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
}

func TestMissingClaim(t *testing.T) {
	c := start(t, node("n1", "1"))
	p := pod("a", "1")
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	c.create(p)
	// DynamicResources' PostFilter has no state of its PreFilter, which never ran, and says so in upstream's words.
	c.waitsWith("a", "Unschedulable", `0/1 nodes are available: persistentvolumeclaim "data" not found. not found`)
}

// Others hear where a pod is about to go while its volume is being made (KEP-5278).
func TestNodeIsNamedWhileTheVolumeIsMade(t *testing.T) {
	mode, class := storagev1.VolumeBindingWaitForFirstConsumer, "late"
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "default", UID: "claim"},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		}},
	}
	c := start(t, node("n1", "1"), claim, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "example.com/p", VolumeBindingMode: &mode,
	})
	p := pod("a", "1")
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	c.create(p)
	c.eventually("the node is named", func() bool { return c.pod("a").Status.NominatedNodeName == "n1" })
	if node := c.pod("a").Spec.NodeName; node != "" {
		t.Fatalf("the pod is on %s without its volume", node)
	}
	claims := c.client.CoreV1().PersistentVolumeClaims("default")
	c.eventually("the provisioner is told", func() bool {
		now, err := claims.Get(c.ctx, "data", metav1.GetOptions{})
		return err == nil && now.Annotations["volume.kubernetes.io/selected-node"] == "n1"
	})
	if _, err := c.client.CoreV1().PersistentVolumes().Create(c.ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class, ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "data", UID: "claim"},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound, err := claims.Get(c.ctx, "data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound.Spec.VolumeName, bound.Status.Phase = "pv", corev1.ClaimBound
	bound.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	if _, err := claims.Update(c.ctx, bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.onNode("a", "n1")
}

func TestGatedPodWaitsForItsGates(t *testing.T) {
	c := start(t, node("n1", "2"))
	p := pod("a", "1")
	p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/g"}}
	c.create(p)
	c.create(pod("b", "1"))
	c.onNode("b", "n1")
	gated := c.pod("a")
	if gated.Spec.NodeName != "" {
		t.Fatalf("a gated pod was placed on %s", gated.Spec.NodeName)
	}
	gated.Spec.SchedulingGates = nil
	if _, err := c.client.CoreV1().Pods("default").Update(c.ctx, gated, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.onNode("a", "n1")
}

func TestBindFailureFreesTheNodeAndIsRetried(t *testing.T) {
	c := start(t, node("n1", "1"))
	c.mu.Lock()
	c.bindFails = func(n int) error {
		if n < 3 {
			return apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("no"))
		}
		return nil
	}
	c.mu.Unlock()
	c.create(pod("a", "1"))
	c.onNode("a", "n1")
	if c.bindings != 4 {
		t.Errorf("bound in %d tries, want 4", c.bindings)
	}
}

func TestBindingWhoseAnswerIsLostCounts(t *testing.T) {
	c := start(t, node("n1", "1"))
	c.mu.Lock()
	c.bindFails = func(n int) error {
		if err := c.place("default", "a", "n1"); err != nil {
			return err
		}
		return errors.New("connection reset")
	}
	c.mu.Unlock()
	c.create(pod("a", "1"))
	c.event("Scheduled", "Successfully assigned default/a to n1")
	if c.bindings != 1 {
		t.Errorf("bound in %d tries, want 1", c.bindings)
	}
}

func TestPreemption(t *testing.T) {
	c := start(t, node("n1", "1"), node("n2", "1"))
	for i, name := range []string{"low", "lower"} {
		p := pod(name, "1")
		priority := int32(10 - i)
		p.Spec.Priority = &priority
		c.create(p)
		c.eventually(name+" placed", func() bool { return c.pod(name).Spec.NodeName != "" })
	}
	where := c.pod("lower").Spec.NodeName
	p := pod("high", "1")
	priority := int32(1000)
	p.Spec.Priority = &priority
	c.create(p)
	c.onNode("high", where)
	if c.pod("low").Spec.NodeName == "" {
		t.Error("the more important victim went")
	}
	c.eventually("the Preempted event", func() bool {
		events, err := c.client.EventsV1().Events("default").List(c.ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items {
			if e.Reason == "Preempted" && strings.HasPrefix(e.Note, "Preempted by pod uid-3 on node "+where) {
				return true
			}
		}
		return false
	})
}

// TestPreemptionWaitsForGracefulVictims: the fake API deletes at once, so deletion is made to only mark the victim.
func TestPreemptionWaitsForGracefulVictims(t *testing.T) {
	c := start(t, node("n1", "1"))
	var evictions int
	var mu sync.Mutex
	gvr := corev1.SchemeGroupVersion.WithResource("pods")
	c.client.PrependReactor("delete", "pods", func(action k8stesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		evictions++
		mu.Unlock()
		object, err := c.client.Tracker().Get(gvr, "default", action.(k8stesting.DeleteAction).GetName())
		if err != nil {
			return true, nil, err
		}
		victim := object.(*corev1.Pod).DeepCopy()
		now := metav1.Now()
		victim.DeletionTimestamp = &now
		return true, nil, c.client.Tracker().Update(gvr, victim, "default")
	})
	c.create(pod("low", "1"))
	c.onNode("low", "n1")
	p := pod("high", "1")
	priority := int32(1000)
	p.Spec.Priority = &priority
	c.create(p)
	c.eventually("the nominated node", func() bool { return c.pod("high").Status.NominatedNodeName == "n1" })
	c.eventually("the victim on its way out", func() bool { return c.pod("low").DeletionTimestamp != nil })
	// A change that makes the scheduler look again while the victim is on its way out must not cost a second victim.
	other := node("n2", "500m")
	if _, err := c.client.CoreV1().Nodes().Create(c.ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.client.Tracker().Delete(gvr, "default", "low"); err != nil {
		t.Fatal(err)
	}
	c.onNode("high", "n1")
	mu.Lock()
	defer mu.Unlock()
	if evictions != 1 {
		t.Errorf("%d evictions, want 1", evictions)
	}
}

// TestRestartSeesWhatIsPlaced: a scheduler that starts on a filled cluster counts what is there.
func TestRestartSeesWhatIsPlaced(t *testing.T) {
	placed := pod("old", "1")
	placed.UID, placed.Spec.NodeName = "old", "n1"
	ended := pod("ended", "1")
	ended.UID, ended.Spec.NodeName, ended.Status.Phase = "ended", "n2", corev1.PodSucceeded
	waiting := pod("a", "1")
	waiting.UID = "a"
	c := start(t, node("n1", "1"), node("n2", "1"), placed, ended, waiting)
	c.onNode("a", "n2")
}

// TestManyPodsFillTheNodesExactly: with binding much slower than deciding, nothing is overcommitted and nothing lost.
func TestManyPodsFillTheNodesExactly(t *testing.T) {
	const nodes, perNode = 10, 20
	var objects []runtime.Object
	for i := range nodes {
		objects = append(objects, node(fmt.Sprintf("n%d", i), "2"))
	}
	c := start(t, objects...)
	c.mu.Lock()
	c.bindFails = func(n int) error {
		if n%7 == 3 {
			return apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("every seventh fails"))
		}
		return nil
	}
	c.mu.Unlock()
	for i := range nodes*perNode + 5 {
		c.create(pod(fmt.Sprintf("p%d", i), "100m"))
	}
	count := func() (perNode map[string]int, waiting int) {
		perNode = map[string]int{}
		pods, err := c.client.CoreV1().Pods("default").List(c.ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			if p.Spec.NodeName == "" {
				waiting++
			} else {
				perNode[p.Spec.NodeName]++
			}
		}
		return perNode, waiting
	}
	c.eventually("all but five placed", func() bool { _, waiting := count(); return waiting == 5 })
	placed, _ := count()
	for name, n := range placed {
		if n != perNode {
			t.Errorf("node %s holds %d pods, want %d", name, n, perNode)
		}
	}
}
