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
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	corelisters "k8s.io/client-go/listers/core/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"skiff/apis/resource"
)

func podTypes() []runtime.Object {
	return []runtime.Object{&metricsv1beta1.PodMetrics{}, &metricsv1beta1.PodMetricsList{}}
}

// pods serves what running pods use. A node is believed about its own pods only.
type pods struct {
	rest.TableConvertor
	sampler *sampler
	lister  corelisters.PodLister
}

var (
	_ rest.Lister               = pods{}
	_ rest.Getter               = pods{}
	_ rest.Scoper               = pods{}
	_ rest.SingularNameProvider = pods{}
)

func newPods(s *sampler, lister corelisters.PodLister) pods {
	type metrics = *metricsv1beta1.PodMetrics
	table := resource.NewTable(resource.Definition[metrics]{
		Resource: metricsv1beta1.SchemeGroupVersion.WithResource("pods"),
		Columns:  columns(podUsage, func(m metrics) metav1.Duration { return m.Window }),
	})
	return pods{table, s, lister}
}

// podUsage is the sum of the containers'.
func podUsage(m *metricsv1beta1.PodMetrics) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for _, c := range m.Containers {
		for name, q := range c.Usage {
			total := sum[name]
			total.Add(q)
			sum[name] = total
		}
	}
	return sum
}

func (pods) New() runtime.Object     { return &metricsv1beta1.PodMetrics{} }
func (pods) NewList() runtime.Object { return &metricsv1beta1.PodMetricsList{} }
func (pods) Destroy()                {}
func (pods) NamespaceScoped() bool   { return true }
func (pods) GetSingularName() string { return "pod" }

// Get answers one pod, not found before the kubelet has told of all its containers.
func (e pods) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	namespace := genericrequest.NamespaceValue(ctx)
	pod, err := e.lister.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if err != nil {
		return nil, err
	}
	known := e.sampler.current(ctx)
	at := now()
	m, ok := known[pod.Spec.NodeName].podMetrics(pod, at)
	if !ok {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource("pods"), namespace+"/"+name)
	}
	answered(m.Timestamp.Time, at)
	return &m, nil
}

// List answers those of which something is known.
func (e pods) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	want := selected(o)
	list, err := e.lister.Pods(genericrequest.NamespaceValue(ctx)).List(want.labels)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	known := e.sampler.current(ctx)
	at := now()
	out := &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{}}
	for _, pod := range list {
		if !want.names(pod) {
			continue
		}
		if m, ok := known[pod.Spec.NodeName].podMetrics(pod, at); ok {
			answered(m.Timestamp.Time, at)
			out.Items = append(out.Items, m)
		}
	}
	return out, nil
}
