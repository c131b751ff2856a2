package csi_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"skiff/kubelet/csi"
	"skiff/kubelet/plugins"
	"skiff/test/csidriver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const driver = "disk.example.com"

func node(labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid", Labels: labels}}
}

func serve(t *testing.T, config csidriver.Config) *csidriver.Driver {
	t.Helper()
	config.Name, config.NodeID, config.Data = driver, "id-of-node", t.TempDir()
	d, err := csidriver.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// TestDriversComeAndGo follows a driver from its socket into the API and out of it.
func TestDriversComeAndGo(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(node(map[string]string{"app": "x"}))
	drivers := csi.New(csi.Config{NodeName: "node"}, csi.Deps{Client: client})
	root := t.TempDir()
	watcher, err := plugins.New(plugins.Config{Root: root}, map[string]plugins.Handler{registerapi.CSIPlugin: drivers})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	ctx := t.Context()
	go func() { done <- watcher.Run(ctx) }()
	go func() { done <- drivers.Run(ctx) }()
	t.Cleanup(func() {
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	csiNode := func() *storagev1.CSINode {
		found, err := client.StorageV1().CSINodes().Get(ctx, "node", metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return found
	}
	until(t, "the CSINode of a node without drivers", func() bool { return csiNode() != nil })
	if owners := csiNode().OwnerReferences; len(owners) != 1 || owners[0].UID != "node-uid" || owners[0].Kind != "Node" {
		t.Errorf("the CSINode is owned by %+v", owners)
	}

	socket := filepath.Join(root, "plugins_registry", driver+"-reg.sock")
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		t.Fatal(err)
	}
	config := csidriver.Config{Socket: socket, MaxVolumes: 7, Topology: map[string]string{"example.com/zone": "a", "example.com/rack": "1"}}
	first := serve(t, config)
	until(t, "registration", func() bool { return first.Registered() != nil && first.Registered().GetPluginRegistered() })
	if _, err := drivers.Get(driver); err != nil {
		t.Error(err)
	}
	found := csiNode().Spec.Drivers
	if len(found) != 1 || found[0].Name != driver || found[0].NodeID != "id-of-node" || *found[0].Allocatable.Count != 7 ||
		!slices.Equal(found[0].TopologyKeys, []string{"example.com/rack", "example.com/zone"}) {
		t.Errorf("the CSINode has %+v", found)
	}
	n, err := client.CoreV1().Nodes().Get(ctx, "node", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"app": "x", "example.com/zone": "a", "example.com/rack": "1"}; !maps.Equal(n.Labels, want) {
		t.Errorf("labels %v", n.Labels)
	}
	if got := n.Annotations["csi.volume.kubernetes.io/nodeid"]; got != `{"disk.example.com":"id-of-node"}` {
		t.Errorf("annotation %s", got)
	}

	// gRPC removes its socket when it stops.
	first.Stop()
	until(t, "the end of a driver", func() bool { return len(csiNode().Spec.Drivers) == 0 })
	if _, err := drivers.Get(driver); err == nil || err.Error() != "driver name "+driver+" not found in the list of registered CSI drivers" {
		t.Errorf("a driver that is gone: %v", err)
	}
	second := serve(t, config)
	defer second.Stop()
	until(t, "the return of a driver", func() bool { return second.Registered() != nil && len(csiNode().Spec.Drivers) == 1 })
}

func TestRefusedDrivers(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(node(map[string]string{"example.com/zone": "b"}))
	drivers := csi.New(csi.Config{NodeName: "node"}, csi.Deps{Client: client})
	defer drivers.Close()
	socket := filepath.Join(t.TempDir(), "s")
	d := serve(t, csidriver.Config{Socket: socket, Topology: map[string]string{"example.com/zone": "a"}})
	defer d.Stop()
	for want, versions := range map[string][]string{
		"does not state which versions": nil, "are not supported": {"0.3.0", "2.0.0"},
		`topology value collision: driver reported "example.com/zone":"a" but existing label is "example.com/zone":"b"`: {"1.11.0"},
	} {
		if err := drivers.Register(t.Context(), driver, socket, versions); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("versions %q: %v, want %q", versions, err, want)
		}
	}
	d.Fail("NodeGetInfo", codes.Internal)
	if err := drivers.Register(t.Context(), driver, socket, []string{"1.0.0"}); err == nil || !strings.Contains(err.Error(), "told to fail") {
		t.Errorf("a driver that doesn't know the node: %v", err)
	}
	if _, err := drivers.Get(driver); err == nil {
		t.Error("a refused driver is there")
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	group := int64(5)
	for _, c := range []struct {
		abilities []csi.Ability
		use       csi.Use
		want      string
	}{
		{nil, csi.Use{}, "mount:{} access_mode:{mode:SINGLE_NODE_WRITER}"},
		{nil, csi.Use{Block: true}, "block:{} access_mode:{mode:SINGLE_NODE_WRITER}"},
		{nil, csi.Use{Modes: []corev1.PersistentVolumeAccessMode{"ReadWriteOncePod"}}, "mount:{} access_mode:{mode:SINGLE_NODE_WRITER}"},
		{nil, csi.Use{Modes: []corev1.PersistentVolumeAccessMode{"ReadWriteMany"}}, "mount:{} access_mode:{mode:MULTI_NODE_MULTI_WRITER}"},
		{nil, csi.Use{Modes: []corev1.PersistentVolumeAccessMode{"ReadOnlyMany"}}, "mount:{} access_mode:{mode:MULTI_NODE_READER_ONLY}"},
		{[]csi.Ability{csi.OneOrMany}, csi.Use{Modes: []corev1.PersistentVolumeAccessMode{"ReadWriteOncePod"}}, "mount:{} access_mode:{mode:SINGLE_NODE_SINGLE_WRITER}"},
		{[]csi.Ability{csi.OneOrMany}, csi.Use{Modes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}}, "mount:{} access_mode:{mode:SINGLE_NODE_MULTI_WRITER}"},
		{nil, csi.Use{FSType: "ext4", Options: []string{"noatime"}, Group: &group}, `mount:{fs_type:"ext4" mount_flags:"noatime" volume_mount_group:"5"} access_mode:{mode:SINGLE_NODE_WRITER}`},
	} {
		drivers := csi.New(csi.Config{NodeName: "node"}, csi.Deps{Client: fake.NewClientset(node(nil))})
		socket := filepath.Join(t.TempDir(), "s")
		d := serve(t, csidriver.Config{Socket: socket, Abilities: c.abilities})
		if err := drivers.Register(t.Context(), driver, socket, []string{"1.0.0"}); err != nil {
			t.Fatal(err)
		}
		found, err := drivers.Get(driver)
		if err != nil {
			t.Fatal(err)
		}
		got, err := found.Capability(t.Context(), c.use)
		// The text form puts a blank more here and there, on purpose.
		if err != nil || strings.Join(strings.Fields(got.String()), " ") != c.want {
			t.Errorf("%+v gives %v (%v), want %s", c.use, got, err, c.want)
		}
		drivers.Close()
		d.Stop()
	}
}

func TestWhatErrorsMean(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]struct{ final, inUse, infeasible bool }{
		codes.Internal: {final: true}, codes.InvalidArgument: {final: true, infeasible: true}, codes.FailedPrecondition: {final: true, inUse: true},
		codes.DeadlineExceeded: {}, codes.Aborted: {}, codes.Unavailable: {}, codes.OutOfRange: {final: true, infeasible: true}, codes.Unknown: {final: true},
	} {
		err := status.Error(code, "x")
		if csi.Final(err) != want.final || csi.InUse(err) != want.inUse || csi.Infeasible(err) != want.infeasible {
			t.Errorf("%v: final %v, in use %v, infeasible %v", code, csi.Final(err), csi.InUse(err), csi.Infeasible(err))
		}
	}
}

// TestADriverThatHangsHoldsNobodyWhoGivesUp is of pods that ask a driver that answers none.
func TestADriverThatHangsHoldsNobodyWhoGivesUp(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "csi.sock")
	served := serve(t, csidriver.Config{Socket: socket})
	defer served.Stop()
	drivers := csi.New(csi.Config{NodeName: "node"}, csi.Deps{Client: fake.NewClientset(node(nil))})
	defer drivers.Close()
	if err := drivers.Register(t.Context(), driver, socket, []string{"1.0.0"}); err != nil {
		t.Fatal(err)
	}
	asked, err := drivers.Get(driver)
	if err != nil {
		t.Fatal(err)
	}
	release := served.Hang("NodeGetCapabilities")
	hung, begun := make(chan error, 4), make(chan bool)
	for range cap(hung) {
		go func() {
			begun <- true
			_, err := asked.Can(t.Context(), csi.Stages)
			hung <- err
		}()
		<-begun
	}
	gaveUp := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := asked.Can(ctx, csi.Stages)
		gaveUp <- err
	}()
	select {
	case err := <-gaveUp:
		if err == nil {
			t.Error("a driver that hangs answered")
		}
	case <-time.After(20 * time.Second):
		t.Error("a call that was given up waits for another's")
	}
	release()
	for range cap(hung) {
		if err := <-hung; err != nil {
			t.Error(err)
		}
	}
}
