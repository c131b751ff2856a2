package horizontalpodautoscaler

import (
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// History is what is remembered of an autoscaler's earlier rounds. It lives in memory alone: a new server starts with
// what the target has.
type History struct {
	// Recommendations are what metrics asked for, before any limit.
	Recommendations []Moment
	// Ups and Downs are by how many pods the target was changed; kept only where spec.behavior limits changes.
	Ups, Downs []Moment
}

// Moment is a number of pods at a time.
type Moment struct {
	Pods int32
	At   time.Time
}

// since sums the moments after the last period seconds.
func since(moments []Moment, period int32, now time.Time) int64 {
	cutoff := now.Add(-time.Duration(period) * time.Second)
	var sum int64
	for _, m := range moments {
		if m.At.After(cutoff) {
			sum += int64(m.Pods)
		}
	}
	return sum
}

// remember adds a moment to a copy of those that are not older than cutoff.
func remember(moments []Moment, cutoff time.Time, m Moment) []Moment {
	var kept []Moment
	for _, old := range moments {
		if !old.At.Before(cutoff) {
			kept = append(kept, old)
		}
	}
	return append(kept, m)
}

// begun answers the history of an autoscaler whose target has that many pods.
func (h History) begun(pods int32, now time.Time) History {
	if len(h.Recommendations) == 0 {
		h.Recommendations = []Moment{{pods, now}}
	}
	return h
}

// scaled notes a change of the target, for the policies that it counts for.
func (h History) scaled(b *autoscalingv2.HorizontalPodAutoscalerBehavior, before, after int32, now time.Time) History {
	if b == nil {
		return h
	}
	if after > before {
		h.Ups = remember(h.Ups, now.Add(-longest(b.ScaleUp)), Moment{after - before, now})
	} else {
		h.Downs = remember(h.Downs, now.Add(-longest(b.ScaleDown)), Moment{before - after, now})
	}
	return h
}

// longest answers the longest period of the policies.
func longest(r *autoscalingv2.HPAScalingRules) time.Duration {
	var seconds int32
	if r != nil {
		for _, p := range r.Policies {
			seconds = max(seconds, p.PeriodSeconds)
		}
	}
	return time.Duration(seconds) * time.Second
}
