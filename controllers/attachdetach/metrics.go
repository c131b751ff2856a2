package attachdetach

import (
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// The registry belongs to the process: of several servers in one, the last one's volumes are counted.
var (
	forced = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem: "attach_detach_controller", Name: "attachdetach_controller_forced_detaches",
		Help: "Number of volumes that were detached by force, by reason: timeout, out-of-service", StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})
	volumeCount = &collector{
		inUse: metrics.NewDesc("storage_count_attachable_volumes_in_use", "Number of volumes that pods use, by node and plugin", []string{"node", "volume_plugin"}, nil, metrics.ALPHA, ""),
		total: metrics.NewDesc("attachdetach_controller_total_volumes", "Number of volumes, by plugin and state: desired_state_of_world, actual_state_of_world", []string{"plugin_name", "state"}, nil, metrics.ALPHA, ""),
	}
	register = sync.OnceFunc(func() {
		legacyregistry.MustRegister(forced)
		legacyregistry.CustomMustRegister(volumeCount)
	})
)

// collector counts volumes when somebody reads the metrics.
type collector struct {
	metrics.BaseStableCollector
	inUse, total *metrics.Desc
	of           atomic.Pointer[reconciler]
}

func registerMetrics(r *reconciler) {
	volumeCount.of.Store(r)
	register()
}

// DescribeWithStability implements metrics.StableCollector.
func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- c.inUse; ch <- c.total }

// CollectWithStability implements metrics.StableCollector.
func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	r := c.of.Load()
	if r == nil {
		return
	}
	used, total := r.count()
	for l, n := range used {
		ch <- metrics.NewLazyConstMetric(c.inUse, metrics.GaugeValue, float64(n), l[:]...)
	}
	for l, n := range total {
		ch <- metrics.NewLazyConstMetric(c.total, metrics.GaugeValue, float64(n), l[:]...)
	}
}

// count answers the volumes of pods by node and driver, and those that are wanted or attached by driver and state.
func (r *reconciler) count() (used, total map[[2]string]int) {
	used, total = map[[2]string]int{}, map[[2]string]int{}
	nodes := map[string][]*corev1.Pod{}
	for _, item := range r.pods.List() {
		if pod, ok := item.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			nodes[pod.Spec.NodeName] = append(nodes[pod.Spec.NodeName], pod)
		}
	}
	for node, pods := range nodes {
		for _, pod := range pods {
			for i := range pod.Spec.Volumes {
				if driver := r.driver(pod, &pod.Spec.Volumes[i]); driver != "" {
					used[[2]string{node, plugin + ":" + driver}]++
				}
			}
		}
		for _, v := range r.resolver.wanted(pods) {
			total[[2]string{plugin + ":" + v.Driver, "desired_state_of_world"}]++
		}
	}
	for _, item := range r.attachments.List() {
		if a, ok := item.(*storagev1.VolumeAttachment); ok {
			total[[2]string{plugin + ":" + a.Spec.Attacher, "actual_state_of_world"}]++
		}
	}
	return used, total
}

func (r *reconciler) driver(pod *corev1.Pod, volume *corev1.Volume) string {
	if volume.CSI != nil {
		return volume.CSI.Driver
	}
	if v := r.resolver.resolve(pod, volume); v != nil {
		return v.Driver
	}
	return ""
}
