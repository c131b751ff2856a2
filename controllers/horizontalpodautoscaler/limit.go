package horizontalpodautoscaler

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
)

// Where spec.behavior says nothing, a target is at most doubled at once, but may always have this many pods.
const (
	growth        = 2
	growthMinimum = 4
)

// told is a reason of a condition and its message.
type told struct{ reason, message string }

var (
	within         = told{"DesiredWithinRange", "the desired count is within the acceptable range"}
	tooFew         = told{"TooFewReplicas", "the desired replica count is less than the minimum replica count"}
	tooMany        = told{"TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	tooFast        = told{"ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
	tooFastDown    = told{"ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}
	fits           = told{"ReadyForNewScale", "recommended size matches current size"}
	stabilizedUp   = told{"ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	stabilizedDown = told{"ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}
)

// bounds is what a recommendation is held within.
type bounds struct {
	Min, Max, Current int32
	Behavior          *autoscalingv2.HorizontalPodAutoscalerBehavior
	// Window is how long the highest recommendation holds before pods are removed, unless the behavior says.
	Window time.Duration
	Now    time.Time
}

// limited is a recommendation after the limits.
type limited struct {
	replicas int32
	// steadied tells whether recent recommendations changed it, bounded whether a limit did.
	steadied, bounded bool
	able, limit       told
	history           History
}

// apply holds a recommendation within its bounds: first against those of the recent past, then against the numbers and
// rates that are allowed.
func (b bounds) apply(h History, wanted int32) limited {
	out := limited{able: fits, history: h}
	var steady int32
	if b.Behavior == nil {
		steady, out.history.Recommendations = b.highest(h.Recommendations, wanted)
		out.replicas, out.limit = b.plain(steady)
	} else {
		steady, out.history.Recommendations = b.steady(h.Recommendations, wanted)
		out.replicas, out.limit = b.paced(h, steady)
	}
	out.steadied, out.bounded = steady != wanted, steady != out.replicas
	switch {
	case !out.steadied:
	case b.Behavior != nil && wanted >= b.Current:
		out.able = stabilizedUp
	default:
		out.able = stabilizedDown
	}
	return out
}

// highest answers the highest recommendation of the window.
func (b bounds) highest(recent []Moment, wanted int32) (int32, []Moment) {
	cutoff := b.Now.Add(-b.Window)
	top := wanted
	for _, m := range recent {
		if !m.At.Before(cutoff) {
			top = max(top, m.Pods)
		}
	}
	return top, remember(recent, cutoff, Moment{wanted, b.Now})
}

// steady moves from the current number only as far as all recommendations of the direction's window agree.
func (b bounds) steady(recent []Moment, wanted int32) (int32, []Moment) {
	up := b.Now.Add(-b.window(b.Behavior.ScaleUp, 0))
	down := b.Now.Add(-b.window(b.Behavior.ScaleDown, b.Window))
	low, high := wanted, wanted
	for _, m := range recent {
		if m.At.After(up) {
			low = min(low, m.Pods)
		}
		if m.At.After(down) {
			high = max(high, m.Pods)
		}
	}
	oldest := up
	if down.Before(up) {
		oldest = down
	}
	return min(max(b.Current, low), high), remember(recent, oldest, Moment{wanted, b.Now})
}

func (b bounds) window(r *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if r == nil || r.StabilizationWindowSeconds == nil {
		return otherwise.Truncate(time.Second)
	}
	return time.Duration(*r.StabilizationWindowSeconds) * time.Second
}

// plain holds replicas between the minimum and the maximum, and below what a single step may reach.
func (b bounds) plain(replicas int32) (int32, told) {
	most, why := int64(b.Max), tooMany
	if step := max(growth*int64(b.Current), growthMinimum); most > step {
		most, why = step, tooFast
	}
	switch {
	case replicas < b.Min:
		return b.Min, tooFew
	case int64(replicas) > most:
		return int32(most), why
	default:
		return replicas, within
	}
}

// paced holds replicas to the maximum on the way up and to the minimum on the way down, and to the policies' rates.
func (b bounds) paced(h History, replicas int32) (int32, told) {
	switch {
	case replicas > b.Current:
		most, why := b.Max, tooMany
		if rate := max(b.Current, b.rate(h, b.Behavior.ScaleUp, true)); most > rate {
			most, why = rate, tooFast
		}
		if replicas > most {
			return most, why
		}
	case replicas < b.Current:
		least, why := b.Min, tooFew
		if rate := min(b.Current, b.rate(h, b.Behavior.ScaleDown, false)); least < rate {
			least, why = rate, tooFastDown
		}
		if replicas < least {
			return least, why
		}
	}
	return replicas, within
}

// rate answers the number of pods that the policies of a direction allow now. Each counts from the number that there
// was at the start of its period.
func (b bounds) rate(h History, rules *autoscalingv2.HPAScalingRules, up bool) int32 {
	if rules == nil { // the API fills in both directions
		return b.Current
	}
	choice := ptr.Deref(rules.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if choice == autoscalingv2.DisabledPolicySelect {
		return b.Current
	}
	highest := up == (choice != autoscalingv2.MinChangePolicySelect)
	result := int64(math.MaxInt32)
	if highest {
		result = math.MinInt32
	}
	for _, p := range rules.Policies {
		start := int64(b.Current) - since(h.Ups, p.PeriodSeconds, b.Now) + since(h.Downs, p.PeriodSeconds, b.Now)
		if n := allowed(p, start, up); highest {
			result = max(result, n)
		} else {
			result = min(result, n)
		}
	}
	return int32(min(max(result, math.MinInt32), math.MaxInt32))
}

// allowed answers where one policy lets a target that had start pods get to. Percentages are rounded so that they
// always let it change.
func allowed(p autoscalingv2.HPAScalingPolicy, start int64, up bool) int64 {
	value := int64(p.Value)
	switch {
	case p.Type == autoscalingv2.PodsScalingPolicy && up:
		return start + value
	case p.Type == autoscalingv2.PodsScalingPolicy:
		return start - value
	case up:
		return int64(math.Ceil(float64(start) * (1 + float64(value)/100)))
	default:
		return int64(float64(start) * (1 - float64(value)/100))
	}
}
