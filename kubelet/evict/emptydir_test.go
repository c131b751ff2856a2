package evict

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func withEmptyDir(p *corev1.Pod, name string, medium corev1.StorageMedium, limit string) *corev1.Pod {
	source := &corev1.EmptyDirVolumeSource{Medium: medium}
	if limit != "" {
		size := resource.MustParse(limit)
		source.SizeLimit = &size
	}
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: source}})
	return p
}

func TestOverfull(t *testing.T) {
	critical := withEmptyDir(podOf("critical", criticalPriority, ""), "d", "", "1Ki")
	ending := withEmptyDir(podOf("ending", 0, ""), "d", "", "1Ki")
	ending.DeletionTimestamp = &metav1.Time{}
	pods := []*corev1.Pod{
		withEmptyDir(podOf("free", 0, ""), "d", "", ""),
		withEmptyDir(podOf("within", 0, ""), "d", "", "2Ki"),
		withEmptyDir(podOf("zero", 0, ""), "d", "", "0"),
		withEmptyDir(podOf("memory", 0, ""), "d", corev1.StorageMediumMemory, "1Ki"),
		withEmptyDir(podOf("odd", 0, ""), "broken", "", "1Ki"),
		withEmptyDir(withEmptyDir(podOf("over", 0, ""), "broken", "", "1Ki"), "d", "", "1Ki"),
		critical, ending,
	}
	found, err := overfull(pods, func(_ *corev1.Pod, volume string) (int64, error) {
		if volume == "broken" {
			return 0, errors.New("cannot be read")
		}
		return 2048, nil
	})
	if len(found) != 1 || found[0].Pod.Name != "over" || found[0].Volume != "d" || found[0].Limit != "1Ki" {
		t.Errorf("overfull: %+v", found)
	}
	if err == nil || strings.Count(err.Error(), "cannot be read") != 2 {
		t.Errorf("error %v", err)
	}
}

func TestOverfullPodsAreEvictedWithTheKnownText(t *testing.T) {
	root := t.TempDir()
	n := &node{pods: []*corev1.Pod{
		withEmptyDir(podOf("over", 0, ""), "cache", "", "64Ki"), withEmptyDir(podOf("new", 0, ""), "cache", "", "64Ki"),
	}}
	dir := filepath.Join(root, "pods/over", emptyDirs, "cache/below")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := New(Thresholds{}, Deps{Pods: n, Stats: n, Recorder: n, Root: root})
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	if err := m.lookAtLimits(t.Context()); err != nil || len(n.evicted) != 0 {
		t.Errorf("evicted %v below the limit (%v)", n.evicted, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.lookAtLimits(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Evicted over"}; !slices.Equal(n.evicted, want) {
		t.Errorf("evicted %v", n.evicted)
	}
	if !slices.ContainsFunc(n.events, func(e string) bool {
		return strings.Contains(e, `Usage of EmptyDir volume "cache" exceeds the limit "64Ki". `)
	}) {
		t.Errorf("events %q", n.events)
	}
}

// TestSlowMeasuringHidesNoPressure is of a pod with so many files that measuring them takes longer than the test.
func TestSlowMeasuringHidesNoPressure(t *testing.T) {
	n := &node{pods: []*corev1.Pod{withEmptyDir(podOf("a", 0, ""), "cache", "", "64Ki")}}
	m := New(Thresholds{Memory: 1 << 60, Hold: time.Hour, Period: time.Millisecond}, Deps{Pods: n, Stats: n, Recorder: n, Root: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	m.measure = func(*corev1.Pod, string) (int64, error) {
		<-ctx.Done()
		return 0, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for until := time.Now().Add(20 * time.Second); !m.Pressure().Memory; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Error("the node doesn't see that it is short of memory")
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
