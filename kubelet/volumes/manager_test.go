package volumes

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"skiff/kubelet/internal/mounttest"
)

// bench is a manager that runs on a fake API.
type bench struct {
	*Manager
	client *fake.Clientset
	root   string
	woken  chan types.UID
}

func newBench(t *testing.T, objects ...runtime.Object) *bench {
	t.Helper()
	mounttest.Need(t)
	b := &bench{client: fake.NewClientset(objects...), root: t.TempDir(), woken: make(chan types.UID, 100)}
	factory := informers.NewSharedInformerFactory(b.client, 0)
	manager, err := New(Config{Root: b.root}, Deps{
		Client: b.client, Informers: factory,
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi")}
		},
		Wake: func(uid types.UID) { b.woken <- uid },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = manager
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- manager.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running the manager: %v", err)
		}
		factory.Shutdown()
	})
	cleanMounts(t, b.root)
	return b
}

func (b *bench) mount(t *testing.T, pod *corev1.Pod) map[string]string {
	t.Helper()
	paths, err := b.Mount(t.Context(), pod)
	if err != nil {
		t.Fatalf("mounting: %v", err)
	}
	return paths
}

func podWith(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "11111111-2222-3333-4444-555555555555",
			Labels: map[string]string{"app": "web", "tier": "front"}, Annotations: map[string]string{"note": "a \"quoted\" one"},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "runner",
			Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m")},
			}}},
			Volumes: volumes,
		},
	}
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Data: data}
}

func configMapVolume(volume, name string) corev1.Volume {
	return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, DefaultMode: ptr.To[int32](0o644),
	}}}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestEveryContentKindMountsAndUnmounts(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys", Namespace: "shop"}, Data: map[string][]byte{"tls.key": {1, 2, 3}}}
	b := newBench(t, configMap("settings", map[string]string{"a": "1", "b": "2"}), secret)
	mode := ptr.To[int32](0o644)
	pod := podWith(
		corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("4Mi")),
		}}},
		configMapVolume("config", "settings"),
		corev1.Volume{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "keys", DefaultMode: mode, Items: []corev1.KeyToPath{{Key: "tls.key", Path: "tls/key", Mode: ptr.To[int32](0o400)}},
		}}},
		corev1.Volume{Name: "self", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			DefaultMode: mode, Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.cpu", Divisor: resource.MustParse("1m")}},
				{Path: "memory", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.memory", Divisor: resource.MustParse("1Gi")}},
			},
		}}},
	)
	paths := b.mount(t, pod)
	for path, want := range map[string]string{
		"config/a": "1", "config/b": "2", "secret/tls/key": "\x01\x02\x03",
		"self/labels": "app=\"web\"\ntier=\"front\"", "self/cpu": "1500", "self/memory": "8",
	} {
		volume, file, _ := strings.Cut(path, "/")
		if got, err := os.ReadFile(filepath.Join(paths[volume], file)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
		}
	}
	for volume, want := range map[string]bool{"disk": false, "memory": true, "config": false, "secret": true, "self": true} {
		if mounted, err := isMount(paths[volume]); err != nil || mounted != want {
			t.Errorf("volume %s is mounted: %v (%v), want %v", volume, mounted, err, want)
		}
	}
	if want := filepath.Join(b.root, "pods", string(pod.UID), "volumes/kubernetes.io~configmap/config"); paths["config"] != want {
		t.Errorf("the ConfigMap is at %s, want %s", paths["config"], want)
	}
	if err := os.WriteFile(filepath.Join(paths["memory"], "big"), make([]byte, 8<<20), 0o600); err == nil {
		t.Error("8 MiB fit into a memory volume of 4 MiB")
	}
	if again := b.mount(t, pod); !maps.Equal(again, paths) {
		t.Errorf("mounting again answers %v, before %v", again, paths)
	}
	b.unmountAll(t, pod)
}

// unmountAll unmounts and checks that nothing is left.
func (b *bench) unmountAll(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	for range 2 { // the second time there is nothing to do
		if err := b.Unmount(t.Context(), pod.UID); err != nil {
			t.Fatalf("unmounting: %v", err)
		}
	}
	if points, err := mountsBelow(b.root); err != nil || len(points) > 0 {
		t.Errorf("mounts left: %v (%v)", points, err)
	}
	if left, err := b.Pods(); err != nil || len(left) > 0 {
		t.Errorf("pod directories left: %v (%v)", left, err)
	}
}

func TestChangedObjectsReachMountedFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t, configMap("settings", map[string]string{"a": "1"}))
	optional := configMapVolume("later", "absent")
	optional.ConfigMap.Optional = new(true)
	paths := b.mount(t, podWith(configMapVolume("config", "settings"), optional))
	shows := func(path, want string) func() bool {
		return func() bool {
			got, err := os.ReadFile(path)
			return err == nil && string(got) == want
		}
	}
	start := time.Now()
	changed := configMap("settings", map[string]string{"a": "2"})
	changed.ResourceVersion = "2"
	if _, err := b.client.CoreV1().ConfigMaps("shop").Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the update of a ConfigMap", shows(filepath.Join(paths["config"], "a"), "2"))
	if took := time.Since(start); took > time.Second {
		t.Errorf("an update took %v", took)
	}
	if _, err := b.client.CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("absent", map[string]string{"x": "y"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the appearance of an optional ConfigMap", shows(filepath.Join(paths["later"], "x"), "y"))
}

func TestChangedLabelsReachMountedFiles(t *testing.T) {
	t.Parallel()
	pod := podWith(corev1.Volume{Name: "self", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](0o644), Sources: []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "app", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
		}}},
	}}})
	b := newBench(t, pod)
	paths := b.mount(t, pod)
	changed := pod.DeepCopy()
	changed.Labels["app"], changed.ResourceVersion = "shop", "2"
	if _, err := b.client.CoreV1().Pods("shop").Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the update of a label", func() bool {
		got, err := os.ReadFile(filepath.Join(paths["self"], "app"))
		return err == nil && string(got) == "shop"
	})
}

func TestMissingObjectsFailWithTheKnownTextAndWake(t *testing.T) {
	t.Parallel()
	b := newBench(t, configMap("half", map[string]string{"a": "1"}))
	half := configMapVolume("half", "half")
	half.ConfigMap.Items = []corev1.KeyToPath{{Key: "b", Path: "b"}}
	pod := podWith(
		configMapVolume("config", "settings"), half,
		corev1.Volume{Name: "both", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: ptr.To[int32](0o644), Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}},
			},
		}}},
	)
	_, err := b.Mount(t.Context(), pod)
	want := `MountVolume.SetUp failed for volume "config" : configmap "settings" not found
MountVolume.SetUp failed for volume "half" : configmap references non-existent config key: b
MountVolume.SetUp failed for volume "both" : [configmap "settings" not found, secret "keys" not found]`
	if err == nil || err.Error() != want {
		t.Errorf("mounting fails with\n%v\nwant\n%s", err, want)
	}
	if _, err := b.client.CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("settings", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case uid := <-b.woken:
		if uid != pod.UID {
			t.Errorf("woke %s", uid)
		}
	case <-time.After(5 * time.Second):
		t.Error("the appearance of a missing object wakes nobody")
	}
	b.unmountAll(t, pod)
}

func TestFSGroupOwnsVolumes(t *testing.T) {
	t.Parallel()
	b := newBench(t, configMap("settings", map[string]string{"a": "1"}))
	pod := podWith(
		corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		configMapVolume("config", "settings"),
	)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To[int64](4321)}
	paths := b.mount(t, pod)
	for path, want := range map[string]os.FileMode{
		paths["disk"]:                       0o777 | os.ModeDir | os.ModeSetgid,
		paths["config"]:                     0o777 | os.ModeDir | os.ModeSetgid,
		filepath.Join(paths["config"], "a"): 0o644,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want || info.Sys().(*syscall.Stat_t).Gid != 4321 {
			t.Errorf("%s has mode %v and group %d (%v), want %v", path, info.Mode(), info.Sys().(*syscall.Stat_t).Gid, err, want)
		}
	}
}

func TestHostPathTypes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		kind corev1.HostPathType
		want string // part of the error, empty for none
	}{
		{dir, "", ""},
		{"/nowhere", "", ""},
		{dir, corev1.HostPathDirectory, ""},
		{file, corev1.HostPathDirectory, "hostPath type check failed: " + file + " is not a directory"},
		{"/nowhere", corev1.HostPathDirectory, "hostPath type check failed: /nowhere is not a directory"},
		{filepath.Join(dir, "made/deep"), corev1.HostPathDirectoryOrCreate, ""},
		{file, corev1.HostPathFile, ""},
		{dir, corev1.HostPathFile, "hostPath type check failed: " + dir + " is not a file"},
		{filepath.Join(dir, "made/file"), corev1.HostPathFileOrCreate, ""},
		{filepath.Join(dir, "no/parent"), corev1.HostPathFileOrCreate, "no such file or directory"},
		{"/dev/null", corev1.HostPathCharDev, ""},
		{"/dev/null", corev1.HostPathBlockDev, "hostPath type check failed: /dev/null is not a block device"},
		{file, corev1.HostPathCharDev, "is not a character device"},
		{file, corev1.HostPathSocket, "is not a socket file"},
		{file, "Odd", "Odd is an invalid volume type"},
	} {
		err := checkHostPath(&corev1.HostPathVolumeSource{Path: c.path, Type: &c.kind})
		if text := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && !strings.Contains(text, c.want) {
			t.Errorf("%s as %q: %v, want %q", c.path, c.kind, err, c.want)
		}
	}
}

func TestClaimsBindLocalVolumesAndNeverDeleteTheirContent(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "kept"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "shop", UID: "claim"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef:               &corev1.ObjectReference{UID: "claim"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: data}},
		},
	}
	b := newBench(t, claim, pv)
	pod := podWith(corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data", ReadOnly: true},
	}})
	paths := b.mount(t, pod)
	if got, err := os.ReadFile(filepath.Join(paths["data"], "kept")); err != nil || string(got) != "x" {
		t.Errorf("the volume holds %q: %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(paths["data"], "new"), nil, 0o600); err == nil {
		t.Error("a read-only claim can be written")
	}
	b.unmountAll(t, pod)
	if _, err := os.Stat(filepath.Join(data, "kept")); err != nil {
		t.Errorf("unmounting deleted content: %v", err)
	}
	claim.Status.Phase = corev1.ClaimPending
	if _, err := b.client.CoreV1().PersistentVolumeClaims("shop").UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Mount(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "PVC is not bound") {
		t.Errorf("an unbound claim: %v", err)
	}
}

func TestTearDownRemovesWhatAnEarlierProcessLeftAndNothingElse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uid := types.UID("left-over")
	pod := filepath.Join(b.root, "pods", string(uid))
	inside := filepath.Join(pod, "volumes/kubernetes.io~empty-dir/disk/mounted-by-a-container")
	twice := filepath.Join(pod, "volumes/kubernetes.io~secret/s")
	for _, dir := range []string{inside, twice, filepath.Join(pod, "etc-hosts-and-such")} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{bind(outside, inside, false), mountFS("tmpfs", twice, ""), mountFS("tmpfs", twice, "")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Unmount(t.Context(), uid); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Errorf("what was mounted into a volume was deleted: %v", err)
	}
	if _, err := os.Stat(filepath.Join(pod, "volumes")); !os.IsNotExist(err) {
		t.Errorf("volumes are left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(pod, "etc-hosts-and-such")); err != nil {
		t.Errorf("what is no volume was removed: %v", err)
	}
	for _, bad := range []types.UID{"", ".", "..", "../x", "a/b"} {
		if err := b.Unmount(t.Context(), bad); err == nil {
			t.Errorf("unmounted %q", bad)
		}
	}
}

// TestRefreshingWaitsForNoMount: a mount may wait for minutes, for its volume to be attached. Other pods' updates go on.
func TestRefreshingWaitsForNoMount(t *testing.T) {
	t.Parallel()
	b := newBench(t, configMap("settings", map[string]string{"a": "1"}))
	pod := podWith(configMapVolume("config", "settings"))
	paths := b.mount(t, pod)
	busy := b.lookup(pod.UID)
	busy.mu.Lock()
	done := make(chan struct{})
	go func() {
		b.refresh(t.Context(), pod.UID)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("a refresh waits for a mount")
	}
	changed := configMap("settings", map[string]string{"a": "2"})
	changed.ResourceVersion = "2"
	if _, err := b.client.CoreV1().ConfigMaps("shop").Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	busy.mu.Unlock()
	<-done
	eventually(t, "the update after the mount", func() bool {
		got, err := os.ReadFile(filepath.Join(paths["config"], "a"))
		return err == nil && string(got) == "2"
	})
}
