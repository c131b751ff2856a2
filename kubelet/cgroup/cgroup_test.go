package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func podOf(uid, requests, limits string) *corev1.Pod {
	list := func(s string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for part := range strings.FieldsSeq(s) {
			name, value, _ := strings.Cut(part, "=")
			out[corev1.ResourceName(name)] = resource.MustParse(value)
		}
		return out
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}, Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "c", Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}},
	}}}
}

func TestPathsAndLimits(t *testing.T) {
	m := &Manager{root: "/k"}
	for _, c := range []struct {
		pod    *corev1.Pod
		path   string
		limits Limits
	}{
		{podOf("1", "", ""), "/k/besteffort/pod1", Limits{Shares: 2}},
		{podOf("2", "cpu=500m", "memory=1Mi"), "/k/burstable/pod2", Limits{Shares: 512, Memory: 1 << 20, milliCPU: 500}},
		{podOf("3", "cpu=1 memory=1Mi", "cpu=1 memory=1Mi"), "/k/pod3", Limits{Shares: 1024, Quota: 100000, Memory: 1 << 20, milliCPU: 1000}},
	} {
		if got := m.Path(c.pod); got != c.path {
			t.Errorf("path %s, want %s", got, c.path)
		}
		if got := Of(c.pod); got != c.limits {
			t.Errorf("%s: limits %+v, want %+v", c.path, got, c.limits)
		}
	}
}

// TestVersion2 checks what is written, on files instead of the kernel.
func TestVersion2(t *testing.T) {
	dir := t.TempDir()
	prepare := func(path string) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"cgroup.controllers": "cpu io memory rdma", "cgroup.subtree_control": "io"} {
			if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	prepare(dir)
	prepare(filepath.Join(dir, "k"))
	prepare(filepath.Join(dir, "k", "burstable"))
	h := v2{dir}
	if err := h.make("/k/burstable/pod1", Limits{Shares: 1024, Quota: 50000, Memory: 77}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"cgroup.subtree_control": "+cpu +memory", "k/cgroup.subtree_control": "+cpu +memory",
		"k/burstable/pod1/cpu.weight": "39", "k/burstable/pod1/cpu.max": "50000 100000", "k/burstable/pod1/memory.max": "77",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", file, got, err, want)
		}
	}
}

func TestKernelTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := fmt.Sprintf("/skifftest-cg-%d", os.Getpid())
	m, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.files.remove(root); err != nil {
			t.Error(err)
		}
	})
	p := podOf("a", "cpu=500m", "memory=64Mi")
	path, err := m.Ensure(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.Ensure(p); err != nil || again != path {
		t.Errorf("again: %s %v", again, err)
	}
	file := filepath.Join(mountPoint, "memory", path, "memory.limit_in_bytes")
	if Unified() {
		file = filepath.Join(mountPoint, path, "memory.max")
	}
	if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != "67108864" {
		t.Errorf("limit %q %v", got, err)
	}
	for range 2 {
		if err := m.Remove(p.UID); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
		t.Errorf("the cgroup is left: %v", err)
	}
}

func TestNewRefusesTheRoot(t *testing.T) {
	for _, root := range []string{"", "/", "k"} {
		if _, err := New(root); err == nil {
			t.Errorf("%q is taken", root)
		}
	}
}
