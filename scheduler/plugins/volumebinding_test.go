package plugins_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

func claim(name, class, volume string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "claim", Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, VolumeName: volume, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if volume != "" {
		c.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	}
	return c
}

func volumeOn(name, class, node string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")},
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{expr(corev1.LabelHostname, corev1.NodeSelectorOpIn, node)},
			}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
	return pv
}

func class(name string, mode storagev1.VolumeBindingMode, provisioner string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, VolumeBindingMode: &mode, Provisioner: provisioner}
}

func using(name string) podOpt {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
}

// store puts objects into the informers' stores.
func (w *world) store(objects ...any) {
	w.t.Helper()
	core, storage := w.factory.Core().V1(), w.factory.Storage().V1()
	for _, o := range objects {
		var informer cache.SharedIndexInformer
		switch o.(type) {
		case *corev1.PersistentVolumeClaim:
			informer = core.PersistentVolumeClaims().Informer()
		case *corev1.PersistentVolume:
			informer = core.PersistentVolumes().Informer()
		case *storagev1.StorageClass:
			informer = storage.StorageClasses().Informer()
		case *storagev1.CSINode:
			informer = storage.CSINodes().Informer()
		case *storagev1.CSIDriver:
			informer = storage.CSIDrivers().Informer()
		case *storagev1.VolumeAttachment:
			informer = storage.VolumeAttachments().Informer()
		default:
			w.t.Fatalf("no informer for %T", o)
		}
		if err := informer.GetStore().Add(o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestVolumeFilters(t *testing.T) {
	immediate := class("now", storagev1.VolumeBindingImmediate, "x")
	later := class("later", storagev1.VolumeBindingWaitForFirstConsumer, "example.com/provisioner")
	local := class("local", storagev1.VolumeBindingWaitForFirstConsumer, "kubernetes.io/no-provisioner")
	selected := claim("data", "later", "")
	selected.Annotations["volume.kubernetes.io/selected-node"] = "b"
	lost := claim("data", "now", "gone")
	lost.Status.Phase = corev1.ClaimLost
	for _, test := range []struct {
		name    string
		objects []any
		a, b    string
	}{
		{"missing claim", nil, `UU: persistentvolumeclaim "data" not found`, `UU: persistentvolumeclaim "data" not found`},
		{"lost claim", []any{lost}, `UU: persistentvolumeclaim "data" bound to non-existent persistentvolume "gone"`, `UU: persistentvolumeclaim "data" bound to non-existent persistentvolume "gone"`},
		{"unbound immediate", []any{claim("data", "now", ""), immediate}, "UU: pod has unbound immediate PersistentVolumeClaims", "UU: pod has unbound immediate PersistentVolumeClaims"},
		{"bound to a volume of a", []any{claim("data", "now", "v"), volumeOn("v", "now", "a")}, fits, "UU: node(s) didn't match PersistentVolume's node affinity"},
		{"bound to nothing", []any{claim("data", "now", "v")}, `UU: persistentvolume "v" not found`, `UU: persistentvolume "v" not found`},
		{"provisioned anywhere", []any{claim("data", "later", ""), later}, fits, fits},
		{"node selected before", []any{selected, later}, "UU: node(s) didn't find available persistent volumes to bind", fits},
		{"local volume", []any{claim("data", "local", ""), local, volumeOn("v", "local", "b")}, "UU: node(s) didn't find available persistent volumes to bind", fits},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")})
			w.store(test.objects...)
			got := w.verdicts(makePod("p", using("data")))
			if got["a"] != test.a || got["b"] != test.b {
				t.Errorf("a: %q, b: %q; want %q, %q", got["a"], got["b"], test.a, test.b)
			}
		})
	}
}

// TestVolumeIsBoundBeforeThePod follows a waiting claim: the volume is reserved, tied to the claim, and PreBind returns
// when the claim is bound.
func TestVolumeIsBoundBeforeThePod(t *testing.T) {
	for _, provisioned := range []bool{true, false} {
		waiting := claim("data", "later", "")
		objects := []any{waiting, class("later", storagev1.VolumeBindingWaitForFirstConsumer, "example.com/provisioner")}
		pv := volumeOn("v", "later", "a")
		client := fake.NewClientset(waiting)
		if !provisioned {
			objects = append(objects, pv)
			client = fake.NewClientset(waiting, pv)
		}
		factory := informers.NewSharedInformerFactory(client, 0)
		w := newWorld(t, []*corev1.Node{makeNode("a")})
		w.factory = factory
		p := plugins.NewVolumeBinding(plugins.Deps{Client: client, Informers: factory})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		w.store(objects[1:2]...)
		factory.Core().V1().PersistentVolumes().Informer()
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		w.store(objects[1:2]...)

		c := framework.NewCycle(info(t, makePod("p", using("data"))), w.cache.Snapshot())
		if _, s := p.PreFilter(ctx, c); !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		if s := p.Reserve(ctx, c, "a"); !s.IsSuccess() {
			t.Fatal(s.Message())
		}
		done := make(chan *framework.Status)
		go func() { done <- p.PreBind(ctx, c, "a") }()
		bindAsControllerDoes(ctx, t, client, provisioned)
		if s := <-done; !s.IsSuccess() {
			t.Errorf("provisioned %v: %s", provisioned, s.Message())
		}
		cancel()
		factory.Shutdown()
	}
}

// bindAsControllerDoes waits for the scheduler's word and completes the claim.
func bindAsControllerDoes(ctx context.Context, t *testing.T, client *fake.Clientset, provisioned bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		claim, err := client.CoreV1().PersistentVolumeClaims("default").Get(ctx, "data", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		told := claim.Annotations["volume.kubernetes.io/selected-node"] == "a"
		if !provisioned {
			pv, err := client.CoreV1().PersistentVolumes().Get(ctx, "v", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			told = pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Name == "data"
		}
		if told {
			claim.Spec.VolumeName = "v"
			metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "pv.kubernetes.io/bind-completed", "yes")
			if _, err := client.CoreV1().PersistentVolumeClaims("default").Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the scheduler said nothing")
		}
	}
}
