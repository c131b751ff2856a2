package volumes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"skiff/kubelet/csi"
	"skiff/kubelet/internal/mounttest"
	"skiff/test/csidriver"
)

const diskDriver = "disk.example.com"

// csiBench is a manager with a driver, on a fake API.
type csiBench struct {
	*bench
	driver  *csidriver.Driver
	drivers *csi.Drivers
	data    string
	events  *record.FakeRecorder
	used    chan struct{} // holds a token when what is in use changed
}

func newCSIBench(t *testing.T, abilities []spec.NodeServiceCapability_RPC_Type, objects ...runtime.Object) *csiBench {
	t.Helper()
	mounttest.Need(t)
	objects = append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid"}})
	b := &csiBench{
		bench: &bench{client: fake.NewClientset(objects...), root: t.TempDir(), woken: make(chan types.UID, 100)},
		data:  t.TempDir(), events: record.NewFakeRecorder(100), used: make(chan struct{}, 100),
	}
	cleanMounts(t, b.root)
	socket := filepath.Join(t.TempDir(), "csi.sock")
	var err error
	b.driver, err = csidriver.Start(t.Context(), csidriver.Config{Name: diskDriver, NodeID: "n", Data: b.data, Socket: socket, Abilities: abilities})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.driver.Stop)
	b.drivers = csi.New(csi.Config{NodeName: "node"}, csi.Deps{Client: b.client})
	t.Cleanup(b.drivers.Close)
	if err := b.drivers.Register(t.Context(), diskDriver, socket, []string{"1.0.0"}); err != nil {
		t.Fatal(err)
	}
	b.boot(t)
	return b
}

// boot starts a manager on what is on disk.
func (b *csiBench) boot(t *testing.T) {
	t.Helper()
	factory := informers.NewSharedInformerFactory(b.client, 0)
	manager, err := New(Config{Root: b.root}, Deps{
		Client: b.client, Informers: factory, Drivers: b.drivers, Events: b.events,
		Wake: func(uid types.UID) { b.woken <- uid }, InUse: func() { b.used <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = manager
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	factory.StartWithContext(ctx)
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() { cancel(); factory.Shutdown() })
}

// report does what node and attacher do: the node says what is in use, and what is attached to it.
func (b *csiBench) report(t *testing.T, attached ...corev1.UniqueVolumeName) {
	t.Helper()
	node, err := b.client.CoreV1().Nodes().Get(t.Context(), "node", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.VolumesInUse, node.Status.VolumesAttached = b.VolumesInUse(), nil
	for _, name := range attached {
		node.Status.VolumesAttached = append(node.Status.VolumesAttached, corev1.AttachedVolume{Name: name})
	}
	if _, err := b.client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func driverObject(change func(*storagev1.CSIDriverSpec)) *storagev1.CSIDriver {
	out := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: diskDriver}, Spec: storagev1.CSIDriverSpec{
		AttachRequired: new(bool), FSGroupPolicy: ptr.To(storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy),
		VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral},
	}}
	change(&out.Spec)
	return out
}

func diskClaim(change func(*corev1.PersistentVolume)) []runtime.Object {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-1"},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{UID: "claim"}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, MountOptions: []string{"noatime"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: diskDriver, VolumeHandle: "handle-1", FSType: "ext4", VolumeAttributes: map[string]string{"tier": "fast"},
			}},
		},
	}
	change(pv)
	return []runtime.Object{pv, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "shop", UID: "claim"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1", VolumeMode: pv.Spec.VolumeMode},
		Status: corev1.PersistentVolumeClaimStatus{
			Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		},
	}}
}

func claimPod(uid types.UID) *corev1.Pod {
	pod := podWith(corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}})
	pod.UID, pod.Name, pod.Spec.NodeName = uid, "pod-"+string(uid), "node"
	return pod
}

// leavesNothing checks that neither pods nor volumes of drivers have left anything.
func (b *csiBench) leavesNothing(t *testing.T) {
	t.Helper()
	if points, err := mountsBelow(b.root); err != nil || len(points) > 0 {
		t.Errorf("mounts left: %v (%v)", points, err)
	}
	err := filepath.WalkDir(b.root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() || strings.Contains(path, "handle-1") {
			t.Errorf("left: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if pods, err := b.Pods(); err != nil || len(pods) > 0 {
		t.Errorf("pods left: %v (%v)", pods, err)
	}
	if left := b.VolumesInUse(); len(left) > 0 {
		t.Errorf("in use: %v", left)
	}
}

func (b *csiBench) did(t *testing.T, want ...string) {
	t.Helper()
	if got := b.driver.Methods(); !slices.Equal(got, want) {
		t.Errorf("the driver was asked %v, want %v", got, want)
	}
}

// TestAttachedVolumesAreSharedByTheirPods follows a persistent volume through attachment, two pods and a restart.
func TestAttachedVolumesAreSharedByTheirPods(t *testing.T) {
	t.Parallel()
	objects := append(diskClaim(func(pv *corev1.PersistentVolume) {
		pv.Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: "vault", Name: "key"}
	}), driverObject(func(s *storagev1.CSIDriverSpec) { s.AttachRequired, s.PodInfoOnMount = new(true), new(true) }),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "key"}, Data: map[string][]byte{"password": []byte("x")}},
		&storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: attachmentName(diskDriver, "handle-1", "node")},
			Status:     storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"lun": "3"}},
		})
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages}, objects...)
	name := uniqueName(diskDriver, "handle-1")
	one := claimPod("one")
	one.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To[int64](4321)}
	type result struct {
		paths map[string]string
		err   error
	}
	done := make(chan result, 1)
	go func() {
		paths, err := b.Mount(t.Context(), one)
		done <- result{paths, err}
	}()
	<-b.used
	if got := b.VolumesInUse(); !slices.Equal(got, []corev1.UniqueVolumeName{name}) {
		t.Errorf("in use: %v", got)
	}
	b.report(t) // in use, but not attached yet
	select {
	case r := <-done:
		t.Fatalf("mounted before it was attached: %v", r.err)
	case <-time.After(50 * time.Millisecond):
	}
	b.did(t)
	b.report(t, name)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if want := filepath.Join(b.root, "pods/one/volumes/kubernetes.io~csi/pv-1/mount"); r.paths["data"] != want {
		t.Errorf("the path is %s", r.paths["data"])
	}
	if err := os.WriteFile(filepath.Join(r.paths["data"], "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.data, "handle-1/file")); err != nil {
		t.Errorf("what is written doesn't reach the volume: %v", err)
	}
	if info, err := os.Stat(r.paths["data"]); err != nil || info.Sys().(*syscall.Stat_t).Gid != 4321 {
		t.Errorf("the group doesn't own the volume: %v", err)
	}
	calls := b.driver.Calls()
	b.did(t, "NodeStageVolume", "NodePublishVolume")
	stage, publish := calls[0].Request.(*spec.NodeStageVolumeRequest), calls[1].Request.(*spec.NodePublishVolumeRequest)
	if stage.PublishContext["lun"] != "3" || stage.Secrets["password"] != "x" || stage.VolumeContext["tier"] != "fast" ||
		stage.VolumeCapability.GetMount().GetFsType() != "ext4" || !slices.Equal(stage.VolumeCapability.GetMount().GetMountFlags(), []string{"noatime"}) ||
		!strings.HasSuffix(stage.StagingTargetPath, "/globalmount") || !strings.HasPrefix(stage.StagingTargetPath, filepath.Join(b.root, "plugins/kubernetes.io/csi", diskDriver)) {
		t.Errorf("staged with %v", stage)
	}
	if publish.StagingTargetPath != stage.StagingTargetPath || publish.PublishContext["lun"] != "3" || publish.Readonly ||
		publish.VolumeContext["csi.storage.k8s.io/pod.name"] != "pod-one" || publish.VolumeContext["csi.storage.k8s.io/ephemeral"] != "false" {
		t.Errorf("published with %v", publish)
	}

	two := claimPod("two")
	b.mount(t, two)
	b.did(t, "NodeStageVolume", "NodePublishVolume", "NodePublishVolume")
	b.boot(t) // a new process finds what the old one did
	if got := b.VolumesInUse(); !slices.Equal(got, []corev1.UniqueVolumeName{name}) {
		t.Errorf("in use after a restart: %v", got)
	}
	if err := b.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := b.driver.Methods()[3:]; !slices.Equal(got, []string{"NodeUnpublishVolume"}) {
		t.Errorf("the end of one pod asked %v", got)
	}
	for range 2 {
		if err := b.Unmount(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.driver.Methods()[4:]; !slices.Equal(got, []string{"NodeUnpublishVolume", "NodeUnstageVolume"}) {
		t.Errorf("the end of the last pod asked %v", got)
	}
	b.leavesNothing(t)
	if _, err := os.Stat(filepath.Join(b.data, "handle-1/file")); err != nil {
		t.Errorf("the volume's content is gone: %v", err)
	}
}

// TestInlineVolumesGetPodsTokensAndAreRepublished is of a volume that lives with its pod.
func TestInlineVolumesGetPodsTokensAndAreRepublished(t *testing.T) {
	t.Parallel()
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages, csi.MountsGroup}, driverObject(func(s *storagev1.CSIDriverSpec) {
		s.PodInfoOnMount, s.RequiresRepublish = new(true), new(true)
		s.TokenRequests = []storagev1.TokenRequest{{Audience: "vault"}}
	}), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "key"}, Data: map[string][]byte{"password": []byte("x")}})
	tokens := &issuer{}
	b.client.PrependReactor("create", "serviceaccounts", tokens.react)
	pod := podWith(corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: diskDriver, ReadOnly: new(true), VolumeAttributes: map[string]string{"size": "1"}, NodePublishSecretRef: &corev1.LocalObjectReference{Name: "key"},
	}}})
	pod.Spec.NodeName, pod.Spec.SecurityContext = "node", &corev1.PodSecurityContext{FSGroup: ptr.To[int64](77)}
	b.mount(t, pod)
	b.did(t, "NodePublishVolume")
	publish := b.driver.Calls()[0].Request.(*spec.NodePublishVolumeRequest)
	if publish.VolumeId != inlineHandle(pod.UID, "scratch") || !publish.Readonly || publish.Secrets["password"] != "x" || publish.StagingTargetPath != "" ||
		publish.VolumeContext["size"] != "1" || publish.VolumeContext["csi.storage.k8s.io/ephemeral"] != "true" ||
		publish.VolumeContext["csi.storage.k8s.io/serviceAccount.name"] != "runner" || publish.VolumeCapability.GetMount().GetVolumeMountGroup() != "77" {
		t.Errorf("published with %v", publish)
	}
	if got := publish.VolumeContext["csi.storage.k8s.io/serviceAccount.tokens"]; !strings.HasPrefix(got, `{"vault":{"token":"token-1","expirationTimestamp":"`) {
		t.Errorf("tokens %s", got)
	}
	b.driver.Fail("NodePublishVolume", codes.Internal)
	b.refresh(t.Context(), pod.UID)
	if mounted, err := isMount(publish.TargetPath); err != nil || !mounted {
		t.Errorf("a failed republication took the volume away (%v)", err)
	}
	b.driver.Fail("NodePublishVolume", codes.OK)
	b.refresh(t.Context(), pod.UID)
	b.did(t, "NodePublishVolume", "NodePublishVolume", "NodePublishVolume")
	b.boot(t)
	if got := b.VolumesInUse(); len(got) > 0 {
		t.Errorf("a pod's own volume is attached: %v", got)
	}
	if err := b.Unmount(t.Context(), pod.UID); err != nil {
		t.Fatal(err)
	}
	b.did(t, "NodePublishVolume", "NodePublishVolume", "NodePublishVolume", "NodeUnpublishVolume")
	b.leavesNothing(t)
}

func TestVolumesAreGivenAsDevices(t *testing.T) {
	t.Parallel()
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages}, append(diskClaim(func(pv *corev1.PersistentVolume) {
		pv.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	}), driverObject(func(*storagev1.CSIDriverSpec) {}))...)
	pod := claimPod("one")
	pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "data", DevicePath: "/dev/data"}}
	paths := b.mount(t, pod)
	if want := filepath.Join(b.root, "pods/one/volumeDevices/kubernetes.io~csi/pv-1"); paths["data"] != want {
		t.Errorf("the path is %s", paths["data"])
	}
	if err := os.WriteFile(paths["data"], []byte("raw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(b.data, "handle-1/device")); err != nil || string(got) != "raw" {
		t.Errorf("the device holds %q (%v)", got, err)
	}
	publish := b.driver.Calls()[1].Request.(*spec.NodePublishVolumeRequest)
	if publish.VolumeCapability.GetBlock() == nil || publish.TargetPath != filepath.Join(b.root, "plugins/kubernetes.io/csi/volumeDevices/publish/pv-1/one") ||
		publish.StagingTargetPath != filepath.Join(b.root, "plugins/kubernetes.io/csi/volumeDevices/staging/pv-1") {
		t.Errorf("published with %v", publish)
	}
	b.boot(t)
	if err := b.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	b.did(t, "NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")
	b.leavesNothing(t)

	wrong := claimPod("two")
	wrong.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	if _, err := b.Mount(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "volume data has volumeMode Block, but is specified in volumeMounts") {
		t.Errorf("a device as a directory: %v", err)
	}
}

func TestDriversThatFailAndHang(t *testing.T) {
	t.Parallel()
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages}, append(diskClaim(func(*corev1.PersistentVolume) {}), driverObject(func(*storagev1.CSIDriverSpec) {}))...)
	pod := claimPod("one")
	b.driver.Fail("NodePublishVolume", codes.Internal)
	_, err := b.Mount(t.Context(), pod)
	want := `MountVolume.SetUp failed for volume "data" : rpc error: code = Internal desc = NodePublishVolume was told to fail`
	if err == nil || err.Error() != want {
		t.Errorf("a failing driver: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.root, "pods/one/volumes/kubernetes.io~csi/pv-1/mount")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target of a failed publication: %v", err)
	}
	// The pod goes although it never had the volume: what was staged for it goes too.
	b.driver.Fail("NodeUnstageVolume", codes.Unavailable)
	if err := b.Unmount(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "NodeUnstageVolume was told to fail") {
		t.Errorf("a driver that doesn't unstage: %v", err)
	}
	b.driver.Fail("NodeUnstageVolume", codes.OK)
	if err := b.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	b.leavesNothing(t)

	b.driver.Fail("NodePublishVolume", codes.OK)
	release := b.driver.Hang("NodeStageVolume")
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() {
		_, err := b.Mount(ctx, claimPod("two"))
		hung <- err
	}()
	eventually(t, "a call that hangs", func() bool { return slices.Contains(b.driver.Methods()[4:], "NodeStageVolume") })
	cancel()
	if err := <-hung; err == nil {
		t.Error("a mount that was given up succeeded")
	}
	release()
	if err := b.Unmount(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	b.leavesNothing(t)

	b.drivers.Deregister(t.Context(), diskDriver)
	if _, err := b.Mount(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "driver name disk.example.com not found in the list of registered CSI drivers") {
		t.Errorf("without its driver: %v", err)
	}
}

func TestVolumesGrowWithTheirClaims(t *testing.T) {
	t.Parallel()
	b := newCSIBench(t, []spec.NodeServiceCapability_RPC_Type{csi.Stages, csi.Expands},
		append(diskClaim(func(*corev1.PersistentVolume) {}), driverObject(func(*storagev1.CSIDriverSpec) {}))...)
	pod := claimPod("one")
	b.mount(t, pod)
	resize := func(size string) {
		t.Helper()
		ctx := t.Context()
		pv, err := b.client.CoreV1().PersistentVolumes().Get(ctx, "pv-1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pv.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse(size)
		claim := b.claim(t)
		claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimNodeResizePending}
		claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: "True"}}
		_, err = b.client.CoreV1().PersistentVolumes().Update(ctx, pv, metav1.UpdateOptions{})
		_, err2 := b.client.CoreV1().PersistentVolumeClaims("shop").UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	resize("2Gi")
	b.refresh(t.Context(), "one")
	b.did(t, "NodeStageVolume", "NodePublishVolume", "NodeExpandVolume")
	expand := b.driver.Calls()[2].Request.(*spec.NodeExpandVolumeRequest)
	if expand.CapacityRange.RequiredBytes != 2<<30 || !strings.HasSuffix(expand.VolumePath, "pods/one/volumes/kubernetes.io~csi/pv-1/mount") ||
		!strings.HasSuffix(expand.StagingTargetPath, "/globalmount") {
		t.Errorf("grown with %v", expand)
	}
	claim := b.claim(t)
	if got := claim.Status.Capacity.Storage(); got.String() != "2Gi" || len(claim.Status.AllocatedResourceStatuses) > 0 || len(claim.Status.Conditions) > 0 {
		t.Errorf("the claim's status is %+v", claim.Status)
	}
	if got := <-b.events.Events; got != `Normal FileSystemResizeSuccessful MountVolume.NodeExpandVolume succeeded for volume "pv-1" node` {
		t.Errorf("event %s", got)
	}
	<-b.events.Events // of the claim

	b.driver.Fail("NodeExpandVolume", codes.OutOfRange)
	resize("3Gi")
	b.refresh(t.Context(), "one")
	claim = b.claim(t)
	if got := claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage]; got != corev1.PersistentVolumeClaimNodeResizeInfeasible {
		t.Errorf("the resize is %s", got)
	}
	if !slices.ContainsFunc(claim.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimNodeResizeError && strings.HasPrefix(c.Message, "failed to expand pvc with ")
	}) {
		t.Errorf("conditions %+v", claim.Status.Conditions)
	}
	if got := <-b.events.Events; !strings.HasPrefix(got, `Warning VolumeResizeFailed NodeExpandVolume failed for volume "pv-1" : `) {
		t.Errorf("event %s", got)
	}
	b.refresh(t.Context(), "one")
	if got := b.driver.Methods(); len(got) != 4 {
		t.Errorf("what isn't possible is tried again: %v", got)
	}
}

func (b *csiBench) claim(t *testing.T) *corev1.PersistentVolumeClaim {
	t.Helper()
	found, err := b.client.CoreV1().PersistentVolumeClaims("shop").Get(t.Context(), "data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
