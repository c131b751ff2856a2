package localpath

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
)

// node is a provisioner of node-1 with the API that it sees.
type node struct {
	t      *testing.T
	client *fake.Clientset
	root   string
	events chan string
}

func newNode(t *testing.T, objects ...runtime.Object) *node {
	host := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{corev1.LabelHostname: "host-1"}}}
	return &node{
		t: t, client: fake.NewClientset(append(objects, host, aClass())...),
		root: filepath.Join(t.TempDir(), "volumes"), events: make(chan string, 1000),
	}
}

// run runs the provisioner until the answered function is called, or the test ends.
func (n *node) run() (stop func()) {
	n.t.Helper()
	factory := informers.NewSharedInformerFactory(n.client, 0)
	p, err := New(Config{Node: "node-1", Root: n.root}, Deps{Client: n.client, Informers: factory, Events: &record.FakeRecorder{Events: n.events}})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	factory.Start(ctx.Done())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
		factory.Shutdown()
	}
	n.t.Cleanup(stop)
	return stop
}

func (n *node) eventually(what string, check func(ctx context.Context) error) {
	n.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(n.t.Context(), 5*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		n.t.Fatalf("%s: %v", what, last)
	}
}

// said waits for an event.
func (n *node) said(want string) {
	n.t.Helper()
	var seen []string
	for {
		select {
		case got := <-n.events:
			if strings.Contains(got, want) {
				return
			}
			seen = append(seen, got)
		case <-time.After(20 * time.Second):
			n.t.Fatalf("nobody said %q, but %q", want, seen)
		}
	}
}

func (n *node) volume() *corev1.PersistentVolume {
	n.t.Helper()
	var v *corev1.PersistentVolume
	n.eventually("the volume", func(ctx context.Context) (err error) {
		v, err = n.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		return err
	})
	return v
}

// release is what the binder does once the claim is gone.
func (n *node) release(v *corev1.PersistentVolume) {
	n.t.Helper()
	ctx := n.t.Context()
	if err := n.client.CoreV1().PersistentVolumeClaims("shop").Delete(ctx, v.Spec.ClaimRef.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		n.t.Fatal(err)
	}
	v = v.DeepCopy()
	v.Status.Phase = corev1.VolumeReleased
	if _, err := n.client.CoreV1().PersistentVolumes().UpdateStatus(ctx, v, metav1.UpdateOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) gone() {
	n.t.Helper()
	n.eventually("the end of the volume", func(ctx context.Context) error {
		if _, err := n.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the volume is still there (%w)", err)
		}
		return nil
	})
	if left, err := os.ReadDir(n.root); err != nil || len(left) > 0 {
		n.t.Errorf("left: %v, %v", left, err)
	}
}

func TestProvisioner(t *testing.T) {
	n := newNode(t, aClaim())
	stop := n.run()
	v := n.volume()
	n.said("Normal Provisioning External provisioner is provisioning volume for claim \"shop/data\"")
	n.said("Normal ProvisioningSucceeded Successfully provisioned volume " + name)
	if v.Spec.Local.Path != filepath.Join(n.root, name) || !exists(t, v.Spec.Local.Path) || !Ours(v, "host-1") {
		t.Errorf("%+v", v.Spec)
	}
	mark := filepath.Join(n.root, name, "mark")
	write(t, mark)
	stop()
	n.run() // as another process
	n.release(v)
	n.gone()
}

// TestKilledBetween starts where a killed process stopped.
func TestKilledBetween(t *testing.T) {
	t.Run("directory and volume", func(t *testing.T) {
		n := newNode(t, aClaim())
		if err := (&Directory{Root: n.root}).Make(name); err != nil {
			t.Fatal(err)
		}
		n.run()
		n.volume()
	})
	t.Run("directory and volume, claim gone", func(t *testing.T) {
		n := newNode(t)
		if err := (&Directory{Root: n.root}).Make(name); err != nil {
			t.Fatal(err)
		}
		n.run()
		n.eventually("an empty root", func(context.Context) error {
			if exists(t, filepath.Join(n.root, name)) {
				return errors.New("the directory is still there")
			}
			return nil
		})
	})
	t.Run("removal and end of the volume", func(t *testing.T) {
		v := Volume(aClaim(), aClass(), "host-1", "")
		n := newNode(t, v)
		v.Spec.Local.Path = filepath.Join(n.root, name)
		if _, err := n.client.CoreV1().PersistentVolumes().Update(t.Context(), v, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(n.root, removing+name, "mark"))
		n.run()
		n.release(v)
		n.gone()
	})
}

func TestInUse(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec: corev1.PodSpec{NodeName: "node-1", Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}},
	}
	n := newNode(t, aClaim(), pod)
	n.run()
	v := n.volume()
	mark := filepath.Join(n.root, name, "mark")
	write(t, mark)
	n.release(v)
	n.said("Normal VolumeDelete the volume is still in use by pod shop/db")
	if !exists(t, mark) {
		t.Error("the data of a running pod is gone")
	}
	if err := n.client.CoreV1().Pods("shop").Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n.gone()
}

// TestForeignPath keeps what a volume with our mark only pretends to own.
func TestForeignPath(t *testing.T) {
	for _, path := range []string{"/elsewhere", "volumes/../elsewhere", "volumes/pvc-other"} {
		v := Volume(aClaim(), aClass(), "host-1", "")
		n := newNode(t, v)
		base := filepath.Dir(n.root)
		v.Spec.Local.Path = base + "/" + path
		write(t, filepath.Join(v.Spec.Local.Path, "mark"))
		if _, err := n.client.CoreV1().PersistentVolumes().Update(t.Context(), v, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		n.run()
		n.release(v)
		n.said("Warning VolumeFailedDelete " + v.Spec.Local.Path + " is not the directory of volume " + name)
		if !exists(t, filepath.Join(v.Spec.Local.Path, "mark")) {
			t.Errorf("%s is gone", v.Spec.Local.Path)
		}
	}
}

func TestKept(t *testing.T) {
	n := newNode(t, aClaim())
	n.run()
	v := n.volume()
	mark := filepath.Join(n.root, name, "mark")
	write(t, mark)
	v = v.DeepCopy()
	v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	v, err := n.client.CoreV1().PersistentVolumes().Update(t.Context(), v, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.eventually("the end of the finalizer", func(ctx context.Context) (err error) {
		if v, err = n.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{}); err == nil && len(v.Finalizers) > 0 {
			err = fmt.Errorf("finalizers %v", v.Finalizers)
		}
		return err
	})
	n.release(v)
	// When a volume that was released later is gone, this one has been looked at.
	second := aClaim(func(c *corev1.PersistentVolumeClaim) { c.Name, c.UID = "more", "1b5c7a52-8f3b-4e0e-9c55-1f2f8a3b6c11" })
	if _, err := n.client.CoreV1().PersistentVolumeClaims("shop").Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.said("Successfully provisioned volume pvc-1b5c7a52")
	if v, err = n.client.CoreV1().PersistentVolumes().Get(t.Context(), VolumeName(second), metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	n.release(v)
	n.eventually("the end of the second volume", func(ctx context.Context) error {
		if _, err := n.client.CoreV1().PersistentVolumes().Get(ctx, v.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the volume is still there (%w)", err)
		}
		return nil
	})
	if !exists(t, mark) {
		t.Error("a volume with the policy Retain is gone")
	}
}

// TestNotProvisioned names the claims that get nothing and what is said of them.
func TestNotProvisioned(t *testing.T) {
	t.Run("full disk", func(t *testing.T) {
		n := newNode(t, aClaim())
		write(t, n.root) // a file is where the directory should be
		n.run()
		n.said(`Warning ProvisioningFailed failed to provision volume with StorageClass "local-path": making the directory of local volumes`)
		n.eventually("the scheduler's turn", func(ctx context.Context) error {
			c, err := n.client.CoreV1().PersistentVolumeClaims("shop").Get(ctx, "data", metav1.GetOptions{})
			if err == nil && c.Annotations["volume.kubernetes.io/selected-node"] != "" {
				err = errors.New("the node is still chosen")
			}
			return err
		})
	})
	t.Run("no node", func(t *testing.T) {
		n := newNode(t, aClaim(func(c *corev1.PersistentVolumeClaim) { delete(c.Annotations, "volume.kubernetes.io/selected-node") }))
		class := aClass()
		class.VolumeBindingMode = nil
		if _, err := n.client.StorageV1().StorageClasses().Update(t.Context(), class, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		n.run()
		n.said(`Warning ProvisioningFailed failed to provision volume with StorageClass "local-path": no node was chosen: volumeBindingMode has to be WaitForFirstConsumer`)
	})
	t.Run("refused, and another node's", func(t *testing.T) {
		n := newNode(t,
			aClaim(func(c *corev1.PersistentVolumeClaim) { c.Annotations["volume.kubernetes.io/selected-node"] = "node-2" }),
			aClaim(func(c *corev1.PersistentVolumeClaim) {
				c.Name, c.UID, c.Spec.AccessModes = "shared", "2", []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
			}))
		n.run()
		n.said(`Warning ProvisioningFailed failed to provision volume with StorageClass "local-path": a directory of one node supports`)
		if list, err := n.client.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
			t.Errorf("%v, %v", list.Items, err)
		}
	})
}

func TestCreationIsRetried(t *testing.T) {
	n := newNode(t, aClaim())
	failures := 3
	n.client.PrependReactor("create", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		failures--
		return failures >= 0, nil, apierrors.NewInternalError(errors.New("no"))
	})
	n.run()
	n.said("Warning ProvisioningFailed")
	n.volume()
}

func TestGrow(t *testing.T) {
	n := newNode(t, aClaim())
	n.run()
	n.volume()
	bound := aClaim(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName, c.Status.Phase = name, corev1.ClaimBound
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("3Gi")
	})
	if _, err := n.client.CoreV1().PersistentVolumeClaims("shop").Update(t.Context(), bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.said("Normal VolumeResizeSuccessful Resize volume succeeded")
	c, err := n.client.CoreV1().PersistentVolumeClaims("shop").Get(t.Context(), "data", metav1.GetOptions{})
	if err != nil || c.Status.Capacity.Storage().String() != "3Gi" || n.volume().Spec.Capacity.Storage().String() != "3Gi" {
		t.Errorf("%v, %v", c.Status.Capacity, err)
	}
}
