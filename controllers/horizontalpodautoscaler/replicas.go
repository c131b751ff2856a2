package horizontalpodautoscaler

import (
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/controllers/internal/podset"
)

// Tolerance is how far usage may be below and above its target without any change.
type Tolerance struct{ Down, Up float64 }

func (t Tolerance) within(ratio float64) bool { return 1-t.Down <= ratio && ratio <= 1+t.Up }

// usage is what replicas are calculated from.
type usage struct {
	// Replicas is the number of pods wanted now, Status the number there are.
	Replicas, Status int32
	Tolerance        Tolerance
	Pods             []*corev1.Pod
	Patience         Patience
	Now              time.Time
}

// byUtilization answers how many replicas bring usage of a resource to target percent of what the pods request, the
// percentage now, and the average usage of a pod in thousandths.
func (u usage) byUtilization(samples Samples, name corev1.ResourceName, container string, target int32) (replicas, percent int32, average int64, err error) {
	g, err := group(u.Pods, samples, name, u.Patience, u.Now)
	if err != nil {
		return 0, 0, 0, err
	}
	requested, err := requests(u.Pods, container, name)
	if err != nil {
		return 0, 0, 0, err
	}
	ratio, percent, average, err := utilization(g.samples, requested, target)
	if err != nil {
		return 0, 0, 0, err
	}
	// A pod without a sample is taken to use all it requested, or the target if that is more, before pods are removed.
	full := func(pod string) int64 { return requested[pod] * int64(max(100, target)) / 100 }
	replicas, err = u.settle(g, ratio, full, func(s Samples) (float64, error) {
		again, _, _, err := utilization(s, requested, target)
		return again, err
	})
	return replicas, percent, average, err
}

// byAverage answers how many replicas bring the average of the pods' samples to target, and the average now. The
// resource is "" for metrics of other kinds.
func (u usage) byAverage(samples Samples, name corev1.ResourceName, target int64) (replicas int32, average int64, err error) {
	g, err := group(u.Pods, samples, name, u.Patience, u.Now)
	if err != nil {
		return 0, 0, err
	}
	ratio, average := meanUsage(g.samples, target)
	replicas, err = u.settle(g, ratio, func(string) int64 { return target }, func(s Samples) (float64, error) {
		again, _ := meanUsage(s, target)
		return again, nil
	})
	return replicas, average, err
}

// settle turns a ratio into replicas. Where pods show nothing yet the ratio is taken again with the most careful guess
// about them: nothing used before more pods are added, full usage before pods are removed. A guess never turns the
// direction around.
func (u usage) settle(g grouped, ratio float64, full func(pod string) int64, again func(Samples) (float64, error)) (int32, error) {
	counts := ratio > 1 && len(g.unready) > 0
	if !counts && len(g.missing) == 0 {
		if u.Tolerance.within(ratio) {
			return u.Replicas, nil
		}
		return ceil(ratio * float64(g.ready)), nil
	}
	for _, pod := range g.missing {
		switch {
		case ratio < 1:
			g.samples[pod] = Sample{Value: full(pod)}
		case ratio > 1:
			g.samples[pod] = Sample{}
		}
	}
	if counts {
		for _, pod := range g.unready {
			g.samples[pod] = Sample{}
		}
	}
	guess, err := again(g.samples)
	if err != nil {
		return 0, err
	}
	if u.Tolerance.within(guess) || (ratio < 1 && guess > 1) || (ratio > 1 && guess < 1) {
		return u.Replicas, nil
	}
	replicas := ceil(guess * float64(len(g.samples)))
	if (guess < 1 && replicas > u.Replicas) || (guess > 1 && replicas < u.Replicas) {
		return u.Replicas, nil
	}
	return replicas, nil
}

// byTotal answers how many replicas bring a value that all pods share to target. From zero pods on it alone says how
// many there should be.
func (u usage) byTotal(value, target int64) (int32, error) {
	ratio := float64(value) / float64(target)
	if u.Replicas == 0 {
		return ceil(ratio), nil
	}
	if u.Tolerance.within(ratio) {
		return u.Replicas, nil
	}
	if len(u.Pods) == 0 {
		return 0, fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	var ready int
	for _, p := range u.Pods {
		if p.Status.Phase == corev1.PodRunning && podset.Ready(p) {
			ready++
		}
	}
	return ceil(ratio * float64(ready)), nil
}

// byShare answers how many replicas give each pod target of a value that they share out among them, and the share now.
func (u usage) byShare(value, target int64) (replicas int32, share int64) {
	ratio := float64(value) / (float64(target) * float64(u.Status))
	replicas = u.Status
	if !u.Tolerance.within(ratio) { // also where there are no pods to share
		replicas = ceil(float64(value) / float64(target))
	}
	if value == math.MaxInt64 || u.Status == 0 {
		return replicas, value
	}
	return replicas, int64(math.Ceil(float64(value) / float64(u.Status)))
}

// total sums the values of an external metric; what is too much stays at the most there is.
func total(values []int64) int64 {
	var sum int64
	for _, v := range values {
		if v > 0 && sum > math.MaxInt64-v {
			return math.MaxInt64
		}
		sum += v
	}
	return sum
}

// ceil rounds up to a number of replicas that the API can tell.
func ceil(f float64) int32 {
	switch f = math.Ceil(f); {
	case f >= math.MaxInt32:
		return math.MaxInt32
	case f <= math.MinInt32:
		return math.MinInt32
	default:
		return int32(f)
	}
}
