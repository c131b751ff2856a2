package server

import (
	"context"

	etcdmetrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/metrics/features"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // what clients, their queues and informers count
	"k8s.io/component-base/metrics/prometheus/compatversion"
	_ "k8s.io/component-base/metrics/prometheus/version" // kubernetes_build_info

	"skiff/apis/server/etcd"
)

// addMetrics registers what kube-apiserver's program adds to the metrics of the
// libraries. The registry belongs to the process: of several servers in one, the
// last one's store is measured.
func (s *Server) addMetrics(v basecompatibility.EffectiveVersion) {
	features.ApplyFeatureGates(utilfeature.DefaultFeatureGate)
	utilfeature.DefaultMutableFeatureGate.AddMetrics()
	compatversion.RecordCompatVersionInfo(context.Background(), basecompatibility.DefaultKubeComponent, //nolint:forbidigo // it only counts
		v.BinaryVersion().String(), v.EmulationVersion().String(), v.MinCompatibilityVersion().String())
	etcdmetrics.SetStorageMonitorGetter(func() ([]etcdmetrics.Monitor, error) {
		return []etcdmetrics.Monitor{storeSize{s.config.Etcd}}, nil
	})
}

// storeSize measures the store when somebody reads the metrics.
type storeSize struct{ store *etcd.Etcd }

// Monitor implements etcdmetrics.Monitor.
func (m storeSize) Monitor(ctx context.Context) (etcdmetrics.StorageMetrics, error) {
	size, err := m.store.Size(ctx)
	return etcdmetrics.StorageMetrics{Size: size}, err
}

// Close implements etcdmetrics.Monitor. The store stays open.
func (storeSize) Close() error { return nil }
