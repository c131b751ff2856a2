package server

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// usages is what each pod's volumes have.
type usages map[types.UID][]statsapi.VolumeStats

func (m usages) Usage(uid types.UID) []statsapi.VolumeStats { return m[uid] }

func TestVolumesBehindClaimsAreMetricsOnceEach(t *testing.T) {
	size, used := uint64(100), uint64(60)
	shared := statsapi.VolumeStats{
		FsStats: statsapi.FsStats{CapacityBytes: &size, UsedBytes: &used}, Name: "d", PVCRef: &statsapi.PVCReference{Namespace: "shop", Name: "data"},
	}
	own := statsapi.VolumeStats{FsStats: statsapi.FsStats{CapacityBytes: &size}, Name: "scratch"}
	pods := []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{UID: "a"}}, {ObjectMeta: metav1.ObjectMeta{UID: "b"}}}
	f := newFamilies()
	addVolumes(f, pods, usages{"a": {shared, own}, "b": {shared}})
	families, err := f.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 2 {
		t.Fatalf("families %v", families)
	}
	for i, want := range []struct {
		name  string
		value float64
	}{{"kubelet_volume_stats_capacity_bytes", 100}, {"kubelet_volume_stats_used_bytes", 60}} {
		got := families[i]
		if got.GetName() != want.name || len(got.GetMetric()) != 1 || got.GetMetric()[0].GetGauge().GetValue() != want.value ||
			got.GetMetric()[0].GetLabel()[0].GetValue() != "shop" || got.GetMetric()[0].GetLabel()[1].GetValue() != "data" {
			t.Errorf("family %v, want %v", got, want)
		}
	}
}
