package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"skiff/controllers/internal/podset"
)

// Sample is what one pod uses of a resource, or shows for a metric, in thousandths.
type Sample struct {
	Value int64
	// At is when the sample was taken and Window the time that it is an average of.
	At     time.Time
	Window time.Duration
}

// Samples are samples by the names of their pods.
type Samples map[string]Sample

// Patience is how long starting pods are given before what they show counts.
type Patience struct {
	// Initialization is the time after a pod's start in which only samples taken while it was ready count.
	Initialization time.Duration
	// Readiness is the time after a pod's start in which a first change to unready still says "never ready yet".
	Readiness time.Duration
}

// grouped are the pods that a target selects by what their samples are worth.
type grouped struct {
	ready            int
	unready, missing []string
	// samples are those that count.
	samples Samples
}

var (
	errNoPods    = errors.New("no pods returned by selector while calculating replica count")
	errNoSamples = errors.New("did not receive metrics for targeted pods (pods might be unready)")
)

// group sorts pods. Pods that go, or failed, count for nothing; only usage of CPU depends on how a pod starts.
func group(pods []*corev1.Pod, samples Samples, name corev1.ResourceName, patience Patience, now time.Time) (grouped, error) {
	if len(pods) == 0 {
		return grouped{}, errNoPods
	}
	// Samples of pods that the cache does not know (yet) count too, as upstream's do.
	g := grouped{samples: make(Samples, len(samples))}
	for pod, s := range samples {
		g.samples[pod] = s
	}
	for _, p := range pods {
		sample, sampled := samples[p.Name]
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed:
			delete(g.samples, p.Name)
		case p.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, p.Name)
			delete(g.samples, p.Name)
		case !sampled:
			g.missing = append(g.missing, p.Name)
		case name == corev1.ResourceCPU && starting(p, sample, patience, now):
			g.unready = append(g.unready, p.Name)
			delete(g.samples, p.Name)
		default:
			g.ready++
		}
	}
	if len(g.samples) == 0 {
		return grouped{}, errNoSamples
	}
	return g, nil
}

// starting answers whether the sample shows the pod's start rather than its work.
func starting(p *corev1.Pod, sample Sample, patience Patience, now time.Time) bool {
	ready := podset.Condition(p, corev1.PodReady)
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	since := ready.LastTransitionTime.Time
	if p.Status.StartTime.Add(patience.Initialization).After(now) {
		return ready.Status == corev1.ConditionFalse || sample.At.Before(since.Add(sample.Window))
	}
	return ready.Status == corev1.ConditionFalse && p.Status.StartTime.Add(patience.Readiness).After(since)
}

// requests answers what each pod requests of a resource, in thousandths: one container, or all of the pod. Requests
// of the pod itself win over the sum of its containers' (KEP-2837).
func requests(pods []*corev1.Pod, container string, name corev1.ResourceName) (map[string]int64, error) {
	all := make(map[string]int64, len(pods))
	for _, p := range pods {
		var err error
		if container == "" && resource.IsPodLevelRequestsSet(p) {
			all[p.Name], err = podRequest(p, name)
		} else {
			all[p.Name], err = containerRequests(p, container, name)
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func podRequest(p *corev1.Pod, name corev1.ResourceName) (int64, error) {
	q, ok := resource.PodRequests(p, resource.PodResourcesOptions{})[name]
	if !ok {
		return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", name, p.Name)
	}
	return q.MilliValue(), nil
}

// containerRequests sums up the containers that run as long as the pod, sidecars among them.
func containerRequests(p *corev1.Pod, container string, name corev1.ResourceName) (int64, error) {
	lasting := append([]corev1.Container(nil), p.Spec.Containers...)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			lasting = append(lasting, c)
		}
	}
	var sum int64
	for _, c := range lasting {
		if container != "" && container != c.Name {
			continue
		}
		q, ok := c.Resources.Requests[name]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", name, c.Name, p.Name)
		}
		if container != "" {
			return q.MilliValue(), nil
		}
		sum += q.MilliValue()
	}
	if container != "" {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, p.Name)
	}
	return sum, nil
}

// utilization compares samples with what their pods requested: the ratio to the target, the percentage used, and the
// average usage of a pod.
func utilization(samples Samples, requested map[string]int64, target int32) (ratio float64, percent int32, average int64, err error) {
	var used, sum, n int64
	for pod, s := range samples {
		if r, known := requested[pod]; known {
			used, sum, n = used+s.Value, sum+r, n+1
		}
	}
	if sum == 0 {
		return 0, 0, 0, errors.New("no metrics returned matched known pods")
	}
	percent = int32(used * 100 / sum)
	return float64(percent) / float64(target), percent, used / n, nil
}

// meanUsage compares samples with the average wanted of a pod: the ratio to the target, and the average.
func meanUsage(samples Samples, target int64) (ratio float64, average int64) {
	var sum int64
	for _, s := range samples {
		sum += s.Value
	}
	average = sum / int64(len(samples))
	return float64(average) / float64(target), average
}
