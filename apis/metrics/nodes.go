package metrics

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	corelisters "k8s.io/client-go/listers/core/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"skiff/apis/resource"
)

func nodeTypes() []runtime.Object {
	return []runtime.Object{&metricsv1beta1.NodeMetrics{}, &metricsv1beta1.NodeMetricsList{}}
}

// nodes serves what nodes use.
type nodes struct {
	rest.TableConvertor
	sampler *sampler
	lister  corelisters.NodeLister
}

var (
	_ rest.Lister               = nodes{}
	_ rest.Getter               = nodes{}
	_ rest.Scoper               = nodes{}
	_ rest.SingularNameProvider = nodes{}
)

func newNodes(s *sampler, lister corelisters.NodeLister) nodes {
	type metrics = *metricsv1beta1.NodeMetrics
	table := resource.NewTable(resource.Definition[metrics]{
		Resource: metricsv1beta1.SchemeGroupVersion.WithResource("nodes"),
		Columns: columns(
			func(m metrics) corev1.ResourceList { return m.Usage },
			func(m metrics) metav1.Duration { return m.Window }),
	})
	return nodes{table, s, lister}
}

func (nodes) New() runtime.Object     { return &metricsv1beta1.NodeMetrics{} }
func (nodes) NewList() runtime.Object { return &metricsv1beta1.NodeMetricsList{} }
func (nodes) Destroy()                {}
func (nodes) NamespaceScoped() bool   { return false }
func (nodes) GetSingularName() string { return "node" }

// Get answers one node, not found before its kubelet has answered twice.
func (e nodes) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	node, err := e.lister.Get(name)
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	if err != nil {
		return nil, err
	}
	at := now()
	m, ok := e.sampler.current(ctx)[name].nodeMetrics(node, at)
	if !ok {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource("nodes"), name)
	}
	answered(m.Timestamp.Time, at)
	return &m, nil
}

// List answers those of which something is known.
func (e nodes) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	want := selected(o)
	list, err := e.lister.List(want.labels)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	known := e.sampler.current(ctx)
	at := now()
	out := &metricsv1beta1.NodeMetricsList{Items: []metricsv1beta1.NodeMetrics{}}
	for _, node := range list {
		if !want.names(node) {
			continue
		}
		if m, ok := known[node.Name].nodeMetrics(node, at); ok {
			answered(m.Timestamp.Time, at)
			out.Items = append(out.Items, m)
		}
	}
	return out, nil
}
