package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers"
	"skiff/test/env"
)

// nodeName is the node that pods run on.
const nodeName = "node-1"

// cluster is an API server with controllers and a pretended kubelet that runs every pod at once.
type cluster struct {
	t      *testing.T
	client kubernetes.Interface
	server *env.Server
	// unready keeps new pods from becoming ready.
	unready atomic.Bool
	address atomic.Int32
}

func newCluster(t *testing.T, change ...func(*controllers.Config)) *cluster {
	t.Helper()
	return newClusterWith(t, func(*controllers.Deps) {}, change...)
}

// newClusterWith is newCluster with other surroundings of the controllers.
func newClusterWith(t *testing.T, surround func(*controllers.Deps), change ...func(*controllers.Config)) *cluster {
	t.Helper()
	c := newServer(t, env.Options{})
	c.control(surround, change...)
	return c
}

// newServer is a cluster whose controllers do not run yet.
func newServer(t *testing.T, o env.Options) *cluster {
	t.Helper()
	s := env.Start(t, o)
	return &cluster{t: t, client: kubernetes.NewForConfigOrDie(s.Admin()), server: s}
}

// control runs the controllers until the test ends.
func (c *cluster) control(surround func(*controllers.Deps), change ...func(*controllers.Config)) {
	t := c.t
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactoryWithOptions(c.client, 0, informers.WithTransform(trim))
	deps := controllers.Deps{ClientConfig: c.server.Config, Informers: factory, RootCA: c.server.PKI.CA(), Tokens: signer{}, Authority: newAuthority()}
	surround(&deps)
	cfg := controllers.Default()
	for _, f := range change {
		f(&cfg)
	}
	all, err := controllers.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	c.node()
	c.kubelet(ctx, factory.Core().V1().Pods().Informer())
	factory.StartWithContext(ctx)
	ended := make(chan error, 1)
	go func() { ended <- all.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("controllers: %v", err)
		}
		factory.Shutdown()
	})
}

func trim(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// kubelet binds, starts and ends pods.
func (c *cluster) kubelet(ctx context.Context, pods cache.SharedIndexInformer) {
	see := func(o any) {
		if pod, ok := o.(*corev1.Pod); ok {
			c.run(ctx, pod)
		}
	}
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, o any) { see(o) }}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) run(ctx context.Context, pod *corev1.Pod) {
	pods := c.client.CoreV1().Pods(pod.Namespace)
	var err error
	switch {
	case pod.DeletionTimestamp != nil:
		err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	case pod.Spec.NodeName == "":
		err = pods.Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: nodeName},
		}, metav1.CreateOptions{})
	case pod.Status.Phase == "" || pod.Status.Phase == corev1.PodPending:
		pod = pod.DeepCopy()
		ready := corev1.ConditionTrue
		if c.unready.Load() {
			ready = corev1.ConditionFalse
		}
		phase := corev1.PodRunning
		if pod.Spec.RestartPolicy == corev1.RestartPolicyNever { // a job's
			phase, ready = corev1.PodSucceeded, corev1.ConditionFalse
			if strings.HasPrefix(pod.Spec.Containers[0].Image, "fail") {
				phase = corev1.PodFailed
			}
		}
		ip := fmt.Sprintf("10.244.0.%d", c.address.Add(1)+1)
		pod.Status = corev1.PodStatus{
			Phase: phase, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, StartTime: new(metav1.Now()),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()}},
		}
		_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.t.Errorf("kubelet: %v", err)
	}
}

// gone waits until get finds nothing by that name.
func gone[T any](c *cluster, what string, get func(context.Context, string, metav1.GetOptions) (T, error), name string) {
	c.t.Helper()
	c.eventually(what, func(ctx context.Context) string {
		if _, err := get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
}

// eventually waits until the check answers "".
func (c *cluster) eventually(what string, check func(ctx context.Context) string) {
	c.t.Helper()
	var last string
	err := wait.PollUntilContextTimeout(c.t.Context(), 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == "", nil
	})
	if err != nil {
		c.t.Fatalf("%s: %s", what, last)
	}
}

// node registers the ready node.
func (c *cluster) node() {
	c.t.Helper()
	now := metav1.Now()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletReady",
		}}},
	}
	if _, err := c.client.CoreV1().Nodes().Create(c.t.Context(), node, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) namespace(name string) {
	c.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.client.CoreV1().Namespaces().Create(c.t.Context(), ns, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) pods(ctx context.Context, namespace string) []corev1.Pod {
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	return list.Items
}

func merge(patch string) (types.PatchType, []byte) { return types.MergePatchType, []byte(patch) }

func mustQuantity(text string) resource.Quantity { return resource.MustParse(text) }

// signer signs nothing.
type signer struct{}

func (signer) Legacy(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	return account.Name + " by " + secret.Name, nil
}
