package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	resourceclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
	"k8s.io/utils/clock"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/kinds"
)

// customWindow is what a sample of a custom metric that does not say is taken to be an average of.
const customWindow = time.Minute

// source reads metrics from the three metrics APIs, whoever serves them.
type source struct {
	kinds    *kinds.Kinds
	resource resourceclient.PodMetricsesGetter
	custom   custom_metrics.CustomMetricsClient
	external external_metrics.ExternalMetricsClient
	versions *versions
}

func newSource(env controller.Env, known *kinds.Kinds, period time.Duration) (*source, error) {
	cfg := controller.Unlimited(env.Config)
	resource, err := resourceclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building client of resource metrics: %w", err)
	}
	external, err := external_metrics.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building client of external metrics: %w", err)
	}
	v := &versions{AvailableAPIsGetter: custom_metrics.NewAvailableAPIsGetter(env.Client.Discovery()), clock: env.Clock, period: period}
	return &source{
		kinds: known, resource: resource, external: external, versions: v,
		custom: custom_metrics.NewForConfig(cfg, known, v),
	}, nil
}

// versions asks discovery for the version of custom metrics again once a period: what serves them may be replaced.
type versions struct {
	custom_metrics.AvailableAPIsGetter
	clock  clock.PassiveClock
	period time.Duration
	mu     sync.Mutex
	asked  time.Time
}

// PreferredVersion answers the version to read.
func (v *versions) PreferredVersion() (schema.GroupVersion, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.clock.Since(v.asked) >= v.period {
		v.asked = v.clock.Now()
		v.Invalidate()
	}
	return v.AvailableAPIsGetter.PreferredVersion()
}

// read reads one metric of a spec, of the pods that the selector selects where it is about pods.
func (s *source) read(ctx context.Context, spec *autoscalingv2.MetricSpec, namespace string, pods labels.Selector) Reading {
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		return s.resources(ctx, namespace, pods, spec.Resource.Name, "")
	case autoscalingv2.ContainerResourceMetricSourceType:
		return s.resources(ctx, namespace, pods, spec.ContainerResource.Name, spec.ContainerResource.Container)
	case autoscalingv2.PodsMetricSourceType:
		return s.selected(ctx, spec.Pods.Metric, func(by labels.Selector) (Reading, error) { return s.ofPods(namespace, pods, spec.Pods.Metric.Name, by) })
	case autoscalingv2.ObjectMetricSourceType:
		return s.selected(ctx, spec.Object.Metric, func(by labels.Selector) (Reading, error) {
			return s.ofObject(namespace, spec.Object.DescribedObject, spec.Object.Metric.Name, by)
		})
	case autoscalingv2.ExternalMetricSourceType:
		return s.selected(ctx, spec.External.Metric, func(by labels.Selector) (Reading, error) { return s.outside(namespace, spec.External.Metric.Name, by) })
	default: // refused by whoever looks at it
		return Reading{}
	}
}

// selected reads a metric by its own selector.
func (s *source) selected(ctx context.Context, id autoscalingv2.MetricIdentifier, read func(labels.Selector) (Reading, error)) Reading {
	by, err := metav1.LabelSelectorAsSelector(id.Selector)
	if err != nil {
		return Reading{Err: selectorError{err}}
	}
	r, err := read(by)
	if meta.IsNoMatchError(err) && s.kinds.Renew(ctx) {
		r, err = read(by)
	}
	r.Err = err
	return r
}

func (s *source) resources(ctx context.Context, namespace string, pods labels.Selector, name corev1.ResourceName, container string) Reading {
	list, err := s.resource.PodMetricses(namespace).List(ctx, metav1.ListOptions{LabelSelector: pods.String()})
	if err != nil {
		return Reading{Err: fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)}
	}
	if len(list.Items) == 0 {
		return Reading{Err: errors.New("no metrics returned from resource metrics API")}
	}
	samples := make(Samples, len(list.Items))
	for _, m := range list.Items {
		if value, ok := used(m.Containers, name, container); ok {
			samples[m.Name] = Sample{Value: value, At: m.Timestamp.Time, Window: m.Window.Duration}
		}
	}
	return Reading{Pods: samples}
}

// used answers what one container uses, or all of them; nothing if what one uses is not known.
func used(containers []metricsv1beta1.ContainerMetrics, name corev1.ResourceName, container string) (value int64, ok bool) {
	for _, c := range containers {
		if container != "" && c.Name != container {
			continue
		}
		q, known := c.Usage[name]
		if !known {
			return 0, false
		}
		value, ok = value+q.MilliValue(), true
		if container != "" {
			return value, true
		}
	}
	return value, ok
}

func (s *source) ofPods(namespace string, pods labels.Selector, name string, by labels.Selector) (Reading, error) {
	list, err := s.custom.NamespacedMetrics(namespace).GetForObjects(schema.GroupKind{Kind: "Pod"}, pods, name, by)
	if err != nil {
		return Reading{}, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return Reading{}, errors.New("no metrics returned from custom metrics API")
	}
	samples := make(Samples, len(list.Items))
	for _, m := range list.Items {
		window := customWindow
		if m.WindowSeconds != nil {
			window = time.Duration(*m.WindowSeconds) * time.Second
		}
		samples[m.DescribedObject.Name] = Sample{Value: m.Value.MilliValue(), At: m.Timestamp.Time, Window: window}
	}
	return Reading{Pods: samples}, nil
}

// ofObject reads the metric of an object of the namespace, or of the namespace itself.
func (s *source) ofObject(namespace string, ref autoscalingv2.CrossVersionObjectReference, name string, by labels.Selector) (Reading, error) {
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	var value *v1beta2.MetricValue
	var err error
	if kind.Group == "" && kind.Kind == "Namespace" {
		value, err = s.custom.RootScopedMetrics().GetForObject(kind, namespace, name, by)
	} else {
		value, err = s.custom.NamespacedMetrics(namespace).GetForObject(kind, ref.Name, name, by)
	}
	if err != nil {
		return Reading{}, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	return Reading{Values: []int64{value.Value.MilliValue()}}, nil
}

func (s *source) outside(namespace, name string, by labels.Selector) (Reading, error) {
	list, err := s.external.NamespacedMetrics(namespace).List(name, by)
	if err != nil {
		return Reading{}, fmt.Errorf("unable to fetch metrics from external metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return Reading{}, errors.New("no metrics returned from external metrics API")
	}
	var r Reading
	for _, m := range list.Items {
		r.Values = append(r.Values, m.Value.MilliValue())
	}
	return r, nil
}
