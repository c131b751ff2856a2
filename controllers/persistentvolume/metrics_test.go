package persistentvolume

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"skiff/controllers/internal/controller"
)

func nothing() []any { return nil }

func TestOperations(t *testing.T) {
	registry, c := metrics.NewKubeRegistry(), newCounters()
	if err := c.register(registry, nothing, nothing); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	data, disk, other := controller.Key{Namespace: "shop", Name: "data"}, controller.Key{Name: "disk"}, controller.Key{Name: "other"}
	c.begin(data, operation{"1", "example.com/disk", provisioning, now})
	c.begin(data, operation{"1", "example.com/disk", provisioning, after(2)}) // it has been asked before
	c.end(data, errors.New("busy"), after(3))
	c.end(data, nil, after(4))
	c.end(data, nil, after(9)) // it is over
	c.begin(disk, operation{"2", notAvailable, deleting, now})
	c.begin(disk, operation{"3", "example.com/disk", deleting, after(3)}) // another one of that name
	c.end(disk, nil, after(10))
	c.begin(other, operation{"4", "example.com/disk", deleting, now})
	c.drop(other)
	c.end(other, nil, after(1))
	c.assign(nil)
	c.assign(errors.New("conflict"))
	const want = `
# HELP volume_operation_errors_total [ALPHA] Total volume operation errors
# TYPE volume_operation_errors_total counter
volume_operation_errors_total{operation_name="provision",plugin_name="example.com/disk"} 1
# HELP retroactive_storageclass_errors_total [ALPHA] Total number of failed retroactive StorageClass assignments to persistent volume claim
# TYPE retroactive_storageclass_errors_total counter
retroactive_storageclass_errors_total 1
# HELP retroactive_storageclass_total [ALPHA] Total number of retroactive StorageClass assignments to persistent volume claim
# TYPE retroactive_storageclass_total counter
retroactive_storageclass_total 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "volume_operation_errors_total", "retroactive_storageclass_errors_total", "retroactive_storageclass_total"); err != nil {
		t.Error(err)
	}
	for name, sum := range map[string]float64{provisioning: 4, deleting: 7} {
		h, err := testutil.GetHistogramVecFromGatherer(registry, "volume_operation_total_seconds", map[string]string{"operation_name": name})
		if err != nil || h.GetAggregatedSampleCount() != 1 || h.GetAggregatedSampleSum() != sum {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
	if len(c.running) > 0 {
		t.Errorf("what is over is remembered: %v", c.running)
	}
}

func TestCollector(t *testing.T) {
	block, gold := corev1.PersistentVolumeBlock, "gold"
	volume := func(class string, phase corev1.PersistentVolumePhase, source corev1.PersistentVolumeSource, mode *corev1.PersistentVolumeMode) any {
		return &corev1.PersistentVolume{
			Spec:   corev1.PersistentVolumeSpec{StorageClassName: class, PersistentVolumeSource: source, VolumeMode: mode},
			Status: corev1.PersistentVolumeStatus{Phase: phase},
		}
	}
	claim := func(namespace string, class, attributes *string, phase corev1.PersistentVolumeClaimPhase) any {
		return &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: class, VolumeAttributesClassName: attributes},
			Status: corev1.PersistentVolumeClaimStatus{Phase: phase},
		}
	}
	host := corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{}}
	csi := corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com"}}
	volumes := func() []any {
		return []any{
			volume("", corev1.VolumeAvailable, host, nil), volume("fast", corev1.VolumeBound, csi, nil), volume("fast", corev1.VolumeBound, csi, &block),
			volume("fast", corev1.VolumeReleased, csi, nil), volume("", corev1.VolumeBound, corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}, nil),
		}
	}
	fast := "fast"
	claims := func() []any {
		return []any{
			claim("a", &fast, nil, corev1.ClaimBound), claim("a", &fast, nil, corev1.ClaimBound), claim("a", &fast, &gold, corev1.ClaimPending),
			claim("b", nil, nil, corev1.ClaimLost), claim("b", nil, nil, corev1.ClaimPending),
		}
	}
	registry := metrics.NewKubeRegistry()
	if err := newCounters().register(registry, volumes, claims); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`pv_collector_bound_pv_count storage_class= 1`,
		`pv_collector_bound_pv_count storage_class=fast 2`,
		`pv_collector_bound_pvc_count namespace=a storage_class=fast volume_attributes_class= 2`,
		`pv_collector_total_pv_count plugin_name=N/A volume_mode=Block 1`,
		`pv_collector_total_pv_count plugin_name=N/A volume_mode=Filesystem 2`,
		`pv_collector_total_pv_count plugin_name=kubernetes.io/host-path volume_mode=Filesystem 1`,
		`pv_collector_total_pv_count plugin_name=kubernetes.io/nfs volume_mode=Filesystem 1`,
		`pv_collector_unbound_pv_count storage_class= 1`,
		`pv_collector_unbound_pv_count storage_class=fast 1`,
		`pv_collector_unbound_pvc_count namespace=a storage_class=fast volume_attributes_class=gold 1`,
		`pv_collector_unbound_pvc_count namespace=b storage_class= volume_attributes_class= 2`,
	}
	if got := shown(t, registry); !slices.Equal(got, want) {
		t.Errorf("shown:\n%s", strings.Join(got, "\n"))
	}
}

// shown answers what the collector shows, a line each.
func shown(t *testing.T, registry metrics.Gatherer) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "pv_collector_") {
			continue
		}
		if !strings.HasPrefix(f.GetHelp(), "[ALPHA] Gauge measuring ") {
			t.Errorf("%s: %s", f.GetName(), f.GetHelp())
		}
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += " " + l.GetName() + "=" + l.GetValue()
			}
			lines = append(lines, fmt.Sprintf("%s %v", line, m.GetGauge().GetValue()))
		}
	}
	return lines
}
