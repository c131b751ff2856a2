package volumes

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/internal/mounttest"
)

func TestMountOptionsAreSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options string
		flags   uintptr
		rest    string
	}{
		{"", 0, ""},
		{"defaults", 0, ""},
		{"ro noatime", unix.MS_RDONLY | unix.MS_NOATIME, ""},
		{"ro rw", 0, ""},
		{"nosuid,nodev,noexec,vers=4.1 hard", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "vers=4.1 hard"},
		{"timeo=600,,ro", unix.MS_RDONLY, "timeo=600"},
	} {
		flags, rest := splitOptions(strings.Fields(c.options))
		if flags != c.flags || strings.Join(rest, " ") != c.rest {
			t.Errorf("%q: flags %x and %q, want %x and %q", c.options, flags, rest, c.flags, c.rest)
		}
	}
}

func TestNFSVersionsAreTriedNewestFirst(t *testing.T) {
	t.Parallel()
	if got := nfsVersions([]string{"hard"}); len(got) != 4 || got[0][0] != "vers=4.2" || got[3][0] != "vers=3" {
		t.Errorf("without a wish: %v", got)
	}
	for _, wish := range []string{"vers=4.0", "nfsvers=3", "v4.1", "v3"} {
		if got := nfsVersions([]string{"hard", wish}); len(got) != 1 || got[0] != nil {
			t.Errorf("%s: %v", wish, got)
		}
	}
}

func TestNFSSources(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{"files.example.com": "files.example.com:/x", "192.0.2.1": "192.0.2.1:/x", "2001:db8::1": "[2001:db8::1]:/x"} {
		if got := nfsSource(&corev1.NFSVolumeSource{Server: server, Path: "/x"}); got != want {
			t.Errorf("%s gives %s", server, got)
		}
	}
}

// TestNFSServersThatAreAwaySaySo: nobody serves NFS here, and the kernel of a test machine may know nothing of it.
func TestNFSServersThatAreAwaySaySo(t *testing.T) {
	t.Parallel()
	mounttest.Need(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	source := &corev1.NFSVolumeSource{Server: "127.0.0.1", Path: "/x"}
	addr, err := reachNFS(t.Context(), source.Server, []string{"port=" + port})
	if err != nil || addr.String() != "127.0.0.1" {
		t.Errorf("the server's address is %v (%v)", addr, err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err = mountNFS(t.Context(), source, []string{"port=" + port}, filepath.Join(t.TempDir(), "at"), true)
	if err == nil || !strings.Contains(err.Error(), "reaching NFS server 127.0.0.1: ") {
		t.Errorf("a server that is away: %v", err)
	}
	b := newBench(t)
	_, err = b.Mount(t.Context(), podWith(corev1.Volume{Name: "files", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "127.0.0.1", Path: "/"}}}))
	if err == nil || !strings.HasPrefix(err.Error(), `MountVolume.SetUp failed for volume "files" : reaching NFS server 127.0.0.1: `) {
		t.Errorf("a server that nobody runs: %v", err)
	}
}

// TestAKernelWithoutNFSSaysSo runs where that is so.
func TestAKernelWithoutNFSSaysSo(t *testing.T) {
	t.Parallel()
	mounttest.Need(t)
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(known)), "nfs") {
		t.Skip("the kernel knows NFS")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = mountNFS(t.Context(), &corev1.NFSVolumeSource{Server: "127.0.0.1", Path: "/x"}, []string{"port=" + port}, filepath.Join(t.TempDir(), "at"), false)
	if err == nil || err.Error() != "mounting 127.0.0.1:/x: this node's kernel has no NFS client" {
		t.Errorf("a kernel without NFS: %v", err)
	}
}
