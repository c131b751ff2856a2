package persistentvolume

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// collector counts volumes and claims when somebody reads the metrics.
type collector struct {
	metrics.BaseStableCollector
	volumes, claims func() []any

	total, boundVolumes, unboundVolumes, boundClaims, unboundClaims *metrics.Desc
}

func newCollector(volumes, claims func() []any) *collector {
	desc := func(name, help string, labels ...string) *metrics.Desc {
		return metrics.NewDesc("pv_collector_"+name, help, labels, nil, metrics.ALPHA, "")
	}
	const class = "storage_class"
	return &collector{
		volumes: volumes, claims: claims,
		total:          desc("total_pv_count", "Gauge measuring total number of persistent volumes", "plugin_name", "volume_mode"),
		boundVolumes:   desc("bound_pv_count", "Gauge measuring number of persistent volume currently bound", class),
		unboundVolumes: desc("unbound_pv_count", "Gauge measuring number of persistent volume currently unbound", class),
		boundClaims:    desc("bound_pvc_count", "Gauge measuring number of persistent volume claim currently bound", "namespace", class, "volume_attributes_class"),
		unboundClaims:  desc("unbound_pvc_count", "Gauge measuring number of persistent volume claim currently unbound", "namespace", class, "volume_attributes_class"),
	}
}

// DescribeWithStability implements metrics.StableCollector.
func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) {
	for _, d := range []*metrics.Desc{c.total, c.boundVolumes, c.unboundVolumes, c.boundClaims, c.unboundClaims} {
		ch <- d
	}
}

// count has numbers by the values of labels.
type count map[[3]string]int

func (n count) send(ch chan<- metrics.Metric, desc *metrics.Desc, labels int) {
	for values, number := range n {
		ch <- metrics.NewLazyConstMetric(desc, metrics.GaugeValue, float64(number), values[:labels]...)
	}
}

// CollectWithStability implements metrics.StableCollector.
func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	total, bound, unbound := count{}, count{}, count{}
	for _, o := range c.volumes() {
		v, ok := o.(*corev1.PersistentVolume)
		if !ok {
			continue
		}
		mode := corev1.PersistentVolumeFilesystem
		if v.Spec.VolumeMode != nil {
			mode = *v.Spec.VolumeMode
		}
		total[[3]string{source(v), string(mode)}]++
		which := unbound
		if v.Status.Phase == corev1.VolumeBound {
			which = bound
		}
		which[[3]string{v.Spec.StorageClassName}]++
	}
	total.send(ch, c.total, 2)
	bound.send(ch, c.boundVolumes, 1)
	unbound.send(ch, c.unboundVolumes, 1)

	bound, unbound = count{}, count{}
	for _, o := range c.claims() {
		claim, ok := o.(*corev1.PersistentVolumeClaim)
		if !ok {
			continue
		}
		which := unbound
		if claim.Status.Phase == corev1.ClaimBound {
			which = bound
		}
		which[[3]string{claim.Namespace, volumehelpers.GetPersistentVolumeClaimClass(claim), valueOf(claim.Spec.VolumeAttributesClassName)}]++
	}
	bound.send(ch, c.boundClaims, 3)
	unbound.send(ch, c.unboundClaims, 3)
}
