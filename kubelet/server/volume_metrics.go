package server

import (
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// The metrics of volumes behind claims.
var (
	volumeCapacity   = metric{"kubelet_volume_stats_capacity_bytes", "[ALPHA] Capacity in bytes of the volume", dto.MetricType_GAUGE}
	volumeAvailable  = metric{"kubelet_volume_stats_available_bytes", "[ALPHA] Number of available bytes in the volume", dto.MetricType_GAUGE}
	volumeUsed       = metric{"kubelet_volume_stats_used_bytes", "[ALPHA] Number of used bytes in the volume", dto.MetricType_GAUGE}
	volumeInodes     = metric{"kubelet_volume_stats_inodes", "[ALPHA] Maximum number of inodes in the volume", dto.MetricType_GAUGE}
	volumeInodesFree = metric{"kubelet_volume_stats_inodes_free", "[ALPHA] Number of free inodes in the volume", dto.MetricType_GAUGE}
	volumeInodesUsed = metric{"kubelet_volume_stats_inodes_used", "[ALPHA] Number of used inodes in the volume", dto.MetricType_GAUGE}
)

// Volumes answers what was measured of a pod's volumes.
type Volumes interface {
	Usage(uid types.UID) []statsapi.VolumeStats
}

// addVolumes adds what is known of the volumes behind claims, each once however many pods share it.
func addVolumes(f *families, pods []*corev1.Pod, volumes Volumes) {
	seen := map[statsapi.PVCReference]bool{}
	for _, pod := range pods {
		for _, v := range volumes.Usage(pod.UID) {
			if v.PVCRef == nil || seen[*v.PVCRef] {
				continue
			}
			seen[*v.PVCRef] = true
			of := sample{labels: []string{"namespace", v.PVCRef.Namespace, "persistentvolumeclaim", v.PVCRef.Name}}
			f.optional(volumeCapacity, v.CapacityBytes, 1, of)
			f.optional(volumeAvailable, v.AvailableBytes, 1, of)
			f.optional(volumeUsed, v.UsedBytes, 1, of)
			f.optional(volumeInodes, v.Inodes, 1, of)
			f.optional(volumeInodesFree, v.InodesFree, 1, of)
			f.optional(volumeInodesUsed, v.InodesUsed, 1, of)
		}
	}
}
