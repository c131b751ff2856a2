package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics"

	"skiff/controllers"
)

// measured is a cluster whose controllers' metrics are shown in the registry.
func measured(t *testing.T) (*cluster, metrics.KubeRegistry) {
	t.Helper()
	registry := metrics.NewKubeRegistry()
	return newClusterWith(t, func(d *controllers.Deps) { d.Metrics = registry }), registry
}

// shows waits until the registry shows the series: the name, then labels as name=value in their order.
func (c *cluster) shows(registry metrics.Gatherer, series string, right func(value float64) bool) {
	c.t.Helper()
	c.eventually(series, func(context.Context) string {
		families, err := registry.Gather()
		if err != nil {
			return err.Error()
		}
		var others []string
		for _, f := range families {
			for _, m := range f.GetMetric() {
				line := f.GetName()
				for _, l := range m.GetLabel() {
					line += " " + l.GetName() + "=" + l.GetValue()
				}
				value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				if line == series && right(value) {
					return ""
				}
				if name, _, _ := strings.Cut(series, " "); name == f.GetName() {
					others = append(others, fmt.Sprintf("%s %v", line, value))
				}
			}
		}
		slices.Sort(others)
		return strings.Join(others, "\n")
	})
}

func exactly(n float64) func(float64) bool { return func(value float64) bool { return value == n } }

// atLeast is for what the process counts: other tests have their part in it.
func atLeast(n float64) func(float64) bool { return func(value float64) bool { return value >= n } }

// TestEndpointSliceMetrics has one endpoint counted.
func TestEndpointSliceMetrics(t *testing.T) {
	c, registry := measured(t)
	ctx := t.Context()
	c.namespace("shop")
	labels := map[string]string{"app": "web"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: labels}, Spec: template(nil, "v1").Spec}
	if _, err := c.client.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}, TrafficDistribution: ptr("PreferSameNode"),
	}}
	if _, err := c.client.CoreV1().Services("shop").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		"syncs result=success", "changes operation=create", "endpoints_added_per_sync", "endpoints_removed_per_sync", "endpoints_desired", "num_endpoint_slices",
		"desired_endpoint_slices", "endpointslices_changed_per_sync topology=Disabled traffic_distribution=PreferSameNode", "services_count_by_traffic_distribution traffic_distribution=PreferSameNode",
	} {
		c.shows(registry, "endpoint_slice_controller_"+series, atLeast(1))
	}
}

// TestVolumeMetrics follows a volume from its claim, which is given the default class late, to its end.
func TestVolumeMetrics(t *testing.T) {
	c, registry := measured(t)
	ctx := t.Context()
	c.namespace("shop")
	c.claim("data", nil)
	c.said("shop", "data", binder, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	c.shows(registry, "pv_collector_unbound_pvc_count namespace=shop storage_class= volume_attributes_class=", exactly(1))
	c.class("fast", storagev1.VolumeBindingImmediate, map[string]string{"storageclass.kubernetes.io/is-default-class": "true"})
	c.shows(registry, "retroactive_storageclass_total", exactly(1))
	c.eventually("a claim that asks its provisioner", func(ctx context.Context) string {
		claim, err := c.client.CoreV1().PersistentVolumeClaims("shop").Get(ctx, "data", metav1.GetOptions{})
		if err != nil || claim.Annotations["volume.kubernetes.io/storage-provisioner"] != "example.com/disk" {
			return fmt.Sprintf("%v, %v", claim.Annotations, err)
		}
		return ""
	})
	c.volume("made", "fast", "1Gi", corev1.PersistentVolumeReclaimDelete)
	c.bound("data", "made", corev1.ClaimBound)
	c.shows(registry, "volume_operation_total_seconds operation_name=provision plugin_name=example.com/disk", exactly(1))
	c.shows(registry, "pv_collector_bound_pvc_count namespace=shop storage_class=fast volume_attributes_class=", exactly(1))
	c.shows(registry, "pv_collector_bound_pv_count storage_class=fast", exactly(1))
	c.shows(registry, "pv_collector_total_pv_count plugin_name=N/A volume_mode=Filesystem", exactly(1))

	if err := c.client.CoreV1().PersistentVolumeClaims("shop").Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.volumePhase("made", corev1.VolumeReleased)
	c.shows(registry, "pv_collector_unbound_pv_count storage_class=fast", exactly(1))
	if err := c.client.CoreV1().PersistentVolumes().Delete(ctx, "made", metav1.DeleteOptions{}); err != nil { // as its driver does
		t.Fatal(err)
	}
	c.shows(registry, "volume_operation_total_seconds operation_name=delete plugin_name=example.com/disk", exactly(1))

	immediate := storagev1.VolumeBindingImmediate
	if _, err := c.client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "host"}, Provisioner: "kubernetes.io/host-path", VolumeBindingMode: &immediate,
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.claim("here", ptr("host"))
	c.shows(registry, "volume_operation_errors_total operation_name=provision plugin_name=kubernetes.io/host-path", atLeast(1))
}
