package horizontalpodautoscaler

import (
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Reading is what a source answered for one metric of a spec.
type Reading struct {
	// Pods are the samples of a Resource, ContainerResource or Pods metric.
	Pods Samples
	// Values are those of an External metric, or the one of an Object metric; in thousandths.
	Values []int64
	// Err is why there is neither.
	Err error
}

// proposal is what one metric wants.
type proposal struct {
	replicas int32
	// name describes the metric in events.
	name   string
	status autoscalingv2.MetricStatus
}

// failure is why a metric proposes nothing: cause is what the condition and event of that reason tell, err what the
// events about the whole computation do.
type failure struct {
	reason     string
	cause, err error
}

// errSpec marks errors that only a change of the spec can mend; they are counted apart.
var errSpec = errors.New("")

// propose answers what the metric wants, given its reading.
func propose(spec *autoscalingv2.MetricSpec, reading Reading, namespace string, u usage) (proposal, *failure) {
	switch spec.Type {
	case autoscalingv2.ObjectMetricSourceType:
		return proposeObject(spec.Object, reading, namespace, u)
	case autoscalingv2.PodsMetricSourceType:
		return proposePods(spec.Pods, reading, u)
	case autoscalingv2.ResourceMetricSourceType:
		s := spec.Resource
		current, replicas, err := proposeResource(s.Name, "", s.Target, reading, u)
		if err != nil {
			return proposal{}, &failure{"FailedGetResourceMetric", err, fmt.Errorf("failed to get %s resource metric value: %w", s.Name, err)}
		}
		return proposal{replicas, resourceName(s.Name, s.Target, ""), autoscalingv2.MetricStatus{
			Type: spec.Type, Resource: &autoscalingv2.ResourceMetricStatus{Name: s.Name, Current: current},
		}}, nil
	case autoscalingv2.ContainerResourceMetricSourceType:
		s := spec.ContainerResource
		current, replicas, err := proposeResource(s.Name, s.Container, s.Target, reading, u)
		if err != nil {
			return proposal{}, &failure{"FailedGetContainerResourceMetric", err, fmt.Errorf("failed to get %s container metric value: %w", s.Container, err)}
		}
		return proposal{replicas, resourceName(s.Name, s.Target, "container "), autoscalingv2.MetricStatus{
			Type: spec.Type, ContainerResource: &autoscalingv2.ContainerResourceMetricStatus{Name: s.Name, Container: s.Container, Current: current},
		}}, nil
	case autoscalingv2.ExternalMetricSourceType:
		return proposeExternal(spec.External, reading, namespace, u)
	default: // validation lets none pass
		err := fmt.Errorf("unknown metric source type %q%w", string(spec.Type), errSpec)
		return proposal{}, &failure{"InvalidMetricSourceType", err, err}
	}
}

func resourceName(name corev1.ResourceName, target autoscalingv2.MetricTarget, of string) string {
	if target.AverageValue != nil {
		return fmt.Sprintf("%s resource", name)
	}
	return fmt.Sprintf("%s %sresource utilization (percentage of request)", name, of)
}

func proposeResource(name corev1.ResourceName, container string, target autoscalingv2.MetricTarget, reading Reading, u usage) (autoscalingv2.MetricValueStatus, int32, error) {
	err := reading.Err
	if err != nil {
		err = fmt.Errorf("unable to get metrics for resource %s: %w", name, err)
	}
	switch {
	case target.AverageValue != nil:
		var replicas int32
		var average int64
		if err == nil {
			replicas, average, err = u.byAverage(reading.Pods, name, target.AverageValue.MilliValue())
		}
		if err != nil {
			return autoscalingv2.MetricValueStatus{}, 0, fmt.Errorf("failed to get %s usage: %w", name, err)
		}
		return autoscalingv2.MetricValueStatus{AverageValue: quantity(name, average)}, replicas, nil
	case target.AverageUtilization != nil:
		var replicas, percent int32
		var average int64
		if err == nil {
			replicas, percent, average, err = u.byUtilization(reading.Pods, name, container, *target.AverageUtilization)
		}
		if err != nil {
			return autoscalingv2.MetricValueStatus{}, 0, fmt.Errorf("failed to get %s utilization: %w", name, err)
		}
		return autoscalingv2.MetricValueStatus{AverageUtilization: &percent, AverageValue: quantity(name, average)}, replicas, nil
	default:
		return autoscalingv2.MetricValueStatus{}, 0, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
}

func proposePods(s *autoscalingv2.PodsMetricSource, reading Reading, u usage) (proposal, *failure) {
	fail := func(err error) (proposal, *failure) {
		return proposal{}, &failure{"FailedGetPodsMetric", err, fmt.Errorf("failed to get pods metric value: %w", err)}
	}
	if reading.Err != nil {
		return fail(named(reading.Err, func(err error) error { return fmt.Errorf("unable to get metric %s: %w", s.Metric.Name, err) }))
	}
	replicas, average, err := u.byAverage(reading.Pods, "", s.Target.AverageValue.MilliValue())
	if err != nil {
		return fail(err)
	}
	return proposal{replicas, "pods metric " + s.Metric.Name, autoscalingv2.MetricStatus{
		Type: autoscalingv2.PodsMetricSourceType,
		Pods: &autoscalingv2.PodsMetricStatus{Metric: s.Metric, Current: autoscalingv2.MetricValueStatus{AverageValue: milli(average)}},
	}}, nil
}

func proposeObject(s *autoscalingv2.ObjectMetricSource, reading Reading, namespace string, u usage) (proposal, *failure) {
	fail := func(cause, err error) (proposal, *failure) {
		return proposal{}, &failure{"FailedGetObjectMetric", cause, fmt.Errorf("failed to get object metric value: %w", err)}
	}
	whole := s.Target.Type == autoscalingv2.ValueMetricType && s.Target.Value != nil
	each := s.Target.Type == autoscalingv2.AverageValueMetricType && s.Target.AverageValue != nil
	read := named(reading.Err, func(err error) error {
		return fmt.Errorf("unable to get metric %s on %s %s/%s: %w", s.Metric.Name, s.DescribedObject.Kind, namespace, s.DescribedObject.Name, err)
	})
	status := autoscalingv2.ObjectMetricStatus{DescribedObject: s.DescribedObject, Metric: s.Metric}
	p := proposal{status: autoscalingv2.MetricStatus{Type: autoscalingv2.ObjectMetricSourceType, Object: &status}}
	switch {
	case !whole && !each:
		err := errors.New("invalid object metric source: neither a value target nor an average value target was set")
		return fail(err, err)
	case read != nil && whole || errors.As(read, new(selectorError)):
		return fail(read, read)
	case read != nil:
		return fail(read, fmt.Errorf("failed to get %s object metric: %w", s.Metric.Name, read))
	case whole:
		var err error
		if p.replicas, err = u.byTotal(reading.Values[0], s.Target.Value.MilliValue()); err != nil {
			return fail(err, err)
		}
		p.name, status.Current.Value = fmt.Sprintf("%s metric %s", s.DescribedObject.Kind, s.Metric.Name), milli(reading.Values[0])
	default:
		replicas, share := u.byShare(reading.Values[0], s.Target.AverageValue.MilliValue())
		p.replicas, status.Current.AverageValue = replicas, milli(share)
		p.name = fmt.Sprintf("external metric %s(%+v)", s.Metric.Name, s.Metric.Selector)
	}
	return p, nil
}

func proposeExternal(s *autoscalingv2.ExternalMetricSource, reading Reading, namespace string, u usage) (proposal, *failure) {
	outer := func(cause, err error) (proposal, *failure) {
		return proposal{}, &failure{"FailedGetExternalMetric", cause, fmt.Errorf("failed to get %s external metric value: %w", s.Metric.Name, err)}
	}
	read := named(reading.Err, func(err error) error {
		return fmt.Errorf("unable to get external metric %s/%s/%+v: %w", namespace, s.Metric.Name, s.Metric.Selector, err)
	})
	status := autoscalingv2.ExternalMetricStatus{Metric: s.Metric}
	p := proposal{
		name:   fmt.Sprintf("external metric %s(%+v)", s.Metric.Name, s.Metric.Selector),
		status: autoscalingv2.MetricStatus{Type: autoscalingv2.ExternalMetricSourceType, External: &status},
	}
	switch {
	case s.Target.AverageValue != nil:
		if read != nil {
			return outer(read, fmt.Errorf("failed to get %s external metric: %w", s.Metric.Name, read))
		}
		replicas, share := u.byShare(total(reading.Values), s.Target.AverageValue.MilliValue())
		p.replicas, status.Current.AverageValue = replicas, milli(share)
	case s.Target.Value != nil:
		value := total(reading.Values)
		if read == nil {
			p.replicas, read = u.byTotal(value, s.Target.Value.MilliValue())
		}
		if read != nil {
			return outer(read, fmt.Errorf("failed to get external metric %s: %w", s.Metric.Name, read))
		}
		status.Current.Value = milli(value)
	default:
		err := errors.New("invalid external metric source: neither a value target nor an average value target was set")
		return outer(err, err)
	}
	return p, nil
}

// selectorError says that the metric's own selector cannot be read; it is told as it is.
type selectorError struct{ error }

// named wraps what a source answered, by wrap.
func named(err error, wrap func(error) error) error {
	if err == nil || errors.As(err, new(selectorError)) {
		return err
	}
	return wrap(err)
}

func milli(value int64) *resource.Quantity {
	return resource.NewMilliQuantity(value, resource.DecimalSI)
}

// quantity writes amounts of memory as the metrics API does.
func quantity(name corev1.ResourceName, value int64) *resource.Quantity {
	if name == corev1.ResourceMemory {
		return resource.NewMilliQuantity(value, resource.BinarySI)
	}
	return milli(value)
}
