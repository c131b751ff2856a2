package horizontalpodautoscaler

import (
	"slices"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// moments are changes spread evenly over the last two minutes, as far from each other as from their ends.
func moments(pods ...int32) []Moment {
	var all []Moment
	each := 2 * time.Minute / time.Duration(len(pods))
	for i, n := range pods {
		all = append(all, Moment{n, epoch().Add(-2*time.Minute + each/2 + time.Duration(i)*each)})
	}
	return all
}

// policy lets a target change by pods in a period of seconds, or by percent.
type policy struct{ pods, podsPeriod, percent, percentPeriod int32 }

func (p policy) rules(choice autoscalingv2.ScalingPolicySelect) *autoscalingv2.HPAScalingRules {
	r := &autoscalingv2.HPAScalingRules{SelectPolicy: &choice}
	if p.pods != 0 {
		r.Policies = append(r.Policies, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: p.pods, PeriodSeconds: p.podsPeriod})
	}
	if p.percent != 0 {
		r.Policies = append(r.Policies, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: p.percent, PeriodSeconds: p.percentPeriod})
	}
	return r
}

// The API fills these in where a spec says nothing.
var (
	defaultUp   = policy{4, 15, 100, 15}
	defaultDown = policy{0, 0, 100, 15}
)

func TestPaced(t *testing.T) {
	const top, low, off = autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect
	tests := []struct {
		name                  string
		ups, downs            []Moment
		least, most           int32
		up, down              policy
		choice                autoscalingv2.ScalingPolicySelect
		current, wanted, want int32
		reason                told
	}{
		{"within range", nil, nil, 3, 8, defaultUp, defaultDown, top, 5, 7, 7, within},
		{"below the minimum", nil, nil, 2, 8, defaultUp, defaultDown, top, 3, 1, 2, tooFew},
		{"zero is within range", nil, nil, 0, 10, defaultUp, defaultDown, top, 1, 0, 0, within},
		{"the maximum is below the current", nil, nil, 1, 10, defaultUp, defaultDown, top, 20, 1000, 10, tooMany},
		{"above the maximum", nil, nil, 100, 150, defaultUp, defaultDown, top, 100, 1000, 150, tooMany},
		{"a percent rounds up", nil, nil, 1, 2000, policy{0, 0, 1, 60}, defaultDown, top, 3, 1000, 4, tooFast},
		{"by default twofold", nil, nil, 1, 1000, defaultUp, defaultDown, top, 10, 50, 20, tooFast},
		{"by default four", nil, nil, 1, 1000, defaultUp, defaultDown, top, 1, 50, 5, tooFast},
		{"pods let more than percent", nil, nil, 1, 1000, policy{100, 60, 100, 60}, defaultDown, top, 10, 500, 110, tooFast},
		{"percent lets more than pods", nil, nil, 1, 1000, policy{2, 60, 100, 60}, defaultDown, top, 10, 500, 20, tooFast},
		{"pods let enough", nil, nil, 1, 1000, policy{100, 60, 0, 0}, defaultDown, top, 10, 50, 50, within},
		{"pods limit", nil, nil, 1, 1000, policy{30, 60, 0, 0}, defaultDown, top, 10, 50, 40, tooFast},
		{"percent limits", nil, nil, 1, 1000, policy{0, 0, 200, 60}, defaultDown, top, 10, 50, 30, tooFast},
		{"the least of pods and percent up", nil, nil, 1, 1000, policy{2, 60, 50, 60}, defaultDown, low, 1, 500, 2, tooFast},
		{"down, pods let more than percent", nil, nil, 1, 1000, defaultUp, policy{20, 60, 1, 60}, top, 100, 2, 80, tooFastDown},
		{"down, two pods let more than a percent", nil, nil, 1, 1000, defaultUp, policy{2, 60, 1, 60}, top, 100, 2, 98, tooFastDown},
		{"down, the minimum with many pods", nil, nil, 1, 1000, defaultUp, policy{100, 60, 0, 0}, top, 10, 0, 1, tooFew},
		{"down, the minimum with all percent", nil, nil, 5, 1000, defaultUp, policy{0, 0, 100, 60}, top, 10, 2, 5, tooFew},
		{"down, pods limit", nil, nil, 1, 1000, defaultUp, policy{5, 60, 0, 0}, top, 10, 2, 5, tooFastDown},
		{"down, percent lets it", nil, nil, 1, 1000, defaultUp, policy{0, 0, 50, 60}, top, 10, 5, 5, within},
		{"down, the least of pods and percent", nil, nil, 1, 1000, defaultUp, policy{2, 60, 50, 60}, low, 5, 1, 3, tooFastDown},
		{"down, a percent rounds down", nil, nil, 1, 1000, defaultUp, policy{0, 0, 1, 60}, top, 3, 1, 2, tooFastDown},
		{"changes before, the maximum with many pods", moments(1, 5, 9), nil, 1, 200, policy{300, 60, 0, 0}, defaultDown, top, 100, 500, 200, tooMany},
		{"changes before, the maximum with many percent", moments(1, 5, 9), nil, 1, 200, policy{0, 0, 10000, 60}, defaultDown, top, 100, 500, 200, tooMany},
		{"changes before use the rate up", moments(1, 5, 9), nil, 1, 1000, policy{5, 120, 0, 0}, defaultDown, top, 100, 500, 100, tooFast},
		{"changes before leave some pods", moments(1, 5, 9), nil, 1, 1000, policy{150, 120, 0, 0}, defaultDown, top, 100, 500, 235, tooFast},
		{"changes before leave some percent", moments(1, 5, 9), nil, 1, 1000, policy{0, 0, 200, 120}, defaultDown, top, 100, 500, 255, tooFast},
		{"changes both ways, up", moments(4), moments(2), 1, 1000, policy{0, 0, 300, 300}, defaultDown, top, 6, 24, 16, tooFast},
		{"only changes of the period count", moments(10, 20), nil, 1, 1000, policy{25, 60, 0, 0}, defaultDown, top, 100, 500, 105, tooFast},
		{"down, changes before with the default", nil, moments(1, 5, 9), 1, 1000, defaultUp, defaultDown, top, 10, 5, 5, within},
		{"down, changes before leave the minimum", nil, moments(1, 5, 9), 1, 1000, defaultUp, policy{115, 120, 0, 0}, top, 100, 0, 1, tooFew},
		{"down, changes before leave a higher minimum", nil, moments(1, 5, 9), 5, 1000, defaultUp, policy{130, 120, 0, 0}, top, 100, 0, 5, tooFew},
		{"down, changes before and all percent", nil, moments(1, 5, 9), 5, 1000, defaultUp, policy{0, 0, 100, 120}, top, 100, 2, 5, tooFew},
		{"down, changes before use the rate", nil, moments(1, 5, 9), 1, 1000, defaultUp, policy{5, 120, 0, 0}, top, 100, 2, 100, tooFastDown},
		{"down, changes before leave some percent", nil, moments(2, 4, 6), 1, 1000, defaultUp, policy{0, 0, 50, 120}, top, 100, 0, 56, tooFastDown},
		{"changes both ways, down", moments(2), moments(4), 1, 1000, defaultUp, policy{0, 0, 50, 180}, top, 10, 1, 6, tooFastDown},
		{"down, changes before used more than the rate", nil, moments(10, 10, 10), 1, 1000, defaultUp, policy{0, 0, 10, 120}, top, 100, 0, 100, tooFastDown},
		{"down, more than all percent", nil, moments(10, 10, 10), 1, 1000, defaultUp, policy{0, 0, 1000, 120}, top, 10, 5, 5, within},
		{"two periods, up", moments(8, 12, 9, 11), nil, 1, 1000, policy{1000, 120, 100, 60}, defaultDown, top, 100, 200, 200, within},
		{"two periods, down", nil, moments(8, 12, 9, 11), 1, 1000, defaultUp, policy{1000, 30, 100, 60}, top, 100, 5, 5, within},
		{"up is off", nil, nil, 1, 1000, defaultUp, defaultDown, off, 10, 50, 10, tooFast},
		{"down is off", nil, nil, 1, 1000, defaultUp, defaultDown, off, 10, 5, 10, tooFastDown},
		{"off is no matter where nothing changes", nil, nil, 1, 1000, defaultUp, defaultDown, off, 10, 10, 10, within},
		{"no policies, up", nil, nil, 1, 1000, policy{}, defaultDown, top, 10, 50, 10, tooFast},
		{"no policies, down", nil, nil, 1, 1000, defaultUp, policy{}, top, 10, 5, 10, tooFastDown},
		{"numbers that do not fit", nil, nil, 1, 1 << 30, policy{1<<31 - 1, 60, 0, 0}, defaultDown, top, 10, 1 << 30, 1 << 30, within},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bounds{
				Min: tt.least, Max: tt.most, Current: tt.current, Now: epoch(),
				Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: tt.up.rules(tt.choice), ScaleDown: tt.down.rules(tt.choice)},
			}
			got, why := b.paced(History{Ups: tt.ups, Downs: tt.downs}, tt.wanted)
			if got != tt.want || why != tt.reason {
				t.Errorf("%d replicas for %s, want %d for %s", got, why.reason, tt.want, tt.reason.reason)
			}
		})
	}
}

func TestPlain(t *testing.T) {
	tests := []struct {
		current, wanted, least, most, want int32
		reason                             told
	}{
		{5, 7, 3, 8, 7, within},
		{3, 1, 2, 8, 2, tooFew},
		{1, 0, 0, 10, 0, within},
		{20, 1000, 1, 10, 10, tooMany},
		{3, 1000, 1, 2000, 6, tooFast},
		{1, 1000, 1, 2000, 4, tooFast},
		{0, 1000, 0, 2000, 4, tooFast},
		{2, 5, 1, 4, 4, tooMany},
		{1 << 30, 1<<31 - 1, 1, 1<<31 - 1, 1<<31 - 1, within},
	}
	for _, tt := range tests {
		b := bounds{Min: tt.least, Max: tt.most, Current: tt.current}
		if got, why := b.plain(tt.wanted); got != tt.want || why != tt.reason {
			t.Errorf("%+v: %d replicas for %s", tt, got, why.reason)
		}
	}
}

// ago are recommendations: the number of pods and how many minutes ago, by turns.
func ago(pairs ...int32) []Moment {
	var all []Moment
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Moment{pairs[i], epoch().Add(-time.Duration(pairs[i+1]) * time.Minute)})
	}
	return all
}

func TestHighest(t *testing.T) {
	tests := []struct {
		name         string
		recent       []Moment
		wanted, want int32
		kept         []Moment
	}{
		{"nothing before", nil, 5, 5, ago(5, 0)},
		{"more was wanted", ago(4, 2, 5, 1), 3, 5, ago(4, 2, 5, 1, 3, 0)},
		{"less was wanted", ago(1, 2, 2, 1), 3, 3, ago(1, 2, 2, 1, 3, 0)},
		{"more was wanted too long ago", ago(10, 10, 9, 9), 3, 3, ago(3, 0)},
		{"more was wanted, and still more too long ago", ago(10, 10, 4, 1, 5, 2, 9, 9), 3, 5, ago(4, 1, 5, 2, 3, 0)},
		{"more was wanted just as long ago as counts", ago(10, 5), 3, 10, ago(10, 5, 3, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, kept := bounds{Window: 5 * time.Minute, Now: epoch()}.highest(tt.recent, tt.wanted)
			if got != tt.want || !slices.Equal(kept, tt.kept) {
				t.Errorf("got %d, kept %v", got, kept)
			}
		})
	}
}

func TestSteady(t *testing.T) {
	const window = -1 // the controller's
	tests := []struct {
		name                  string
		recent                []Moment
		current, wanted, want int32
		up, down              int32
		kept                  []Moment
	}{
		{"nothing before, down", nil, 100, 5, 5, 0, 0, ago(5, 0)},
		{"more was wanted", ago(4, 2, 5, 1), 100, 3, 5, 0, 180, ago(4, 2, 5, 1, 3, 0)},
		{"less was wanted", ago(4, 2, 5, 1), 1, 7, 4, 300, 0, ago(4, 2, 5, 1, 7, 0)},
		{"down is at once", ago(1, 2, 2, 1), 100, 3, 3, 300, 0, ago(1, 2, 2, 1, 3, 0)},
		{"up is at once", ago(4, 2, 5, 1), 1, 3, 3, 0, 300, ago(4, 2, 5, 1, 3, 0)},
		{"more was wanted too long ago", ago(10, 10, 9, 9), 100, 3, 3, 0, 0, ago(3, 0)},
		{"less was wanted too long ago", ago(10, 10, 9, 9), 1, 100, 100, 0, 0, ago(100, 0)},
		{"more was wanted, and still more too long ago", ago(10, 10, 4, 1, 5, 2, 9, 9), 100, 3, 5, 0, 180, ago(4, 1, 5, 2, 3, 0)},
		{"less was wanted, and still less too long ago", ago(1, 100, 6, 1, 5, 2, 9, 3), 1, 100, 5, 300, 0, ago(6, 1, 5, 2, 9, 3, 100, 0)},
		{"neither way: up was wanted, now down", ago(2, 100, 3, 3), 2, 1, 2, 300, 300, ago(3, 3, 1, 0)},
		{"neither way: down was wanted, now up", ago(2, 100, 1, 3), 2, 3, 2, 300, 300, ago(1, 3, 3, 0)},
		{"down as the controller says", ago(4, 4, 9, 6), 10, 2, 4, 0, window, ago(4, 4, 2, 0)},
		{"just as long ago as does not count", ago(9, 5), 10, 2, 2, 0, 300, ago(9, 5, 2, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := func(seconds int32) *autoscalingv2.HPAScalingRules {
				if seconds == window {
					return &autoscalingv2.HPAScalingRules{}
				}
				return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds}
			}
			b := bounds{
				Current: tt.current, Window: 5 * time.Minute, Now: epoch(),
				Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules(tt.up), ScaleDown: rules(tt.down)},
			}
			if got, kept := b.steady(tt.recent, tt.wanted); got != tt.want || !slices.Equal(kept, tt.kept) {
				t.Errorf("got %d, kept %v", got, kept)
			}
		})
	}
}

func TestApplyTells(t *testing.T) {
	behavior := func(up, down int32) *autoscalingv2.HorizontalPodAutoscalerBehavior {
		u, d := defaultUp.rules(autoscalingv2.MaxChangePolicySelect), defaultDown.rules(autoscalingv2.MaxChangePolicySelect)
		u.StabilizationWindowSeconds, d.StabilizationWindowSeconds = &up, &down
		return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: u, ScaleDown: d}
	}
	tests := []struct {
		name         string
		behavior     *autoscalingv2.HorizontalPodAutoscalerBehavior
		recent       []Moment
		wanted, want int32
		able, limit  told
		bounded      bool
	}{
		{"as wanted", nil, ago(5, 1), 7, 7, fits, within, false},
		{"held", nil, ago(9, 1), 3, 9, stabilizedDown, within, false},
		{"held, and the maximum", nil, ago(50, 1), 3, 10, stabilizedDown, tooMany, true},
		{"as wanted by behavior", behavior(0, 300), ago(5, 1), 7, 7, fits, within, false},
		{"held up", behavior(300, 300), ago(6, 1), 9, 6, stabilizedUp, within, false},
		{"held down", behavior(300, 300), ago(4, 1), 3, 4, stabilizedDown, within, false},
		{"too many by behavior", behavior(0, 0), nil, 20, 10, fits, tooMany, true},
		{"too fast", nil, nil, 20, 10, fits, tooMany, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bounds{Min: 1, Max: 10, Current: 5, Behavior: tt.behavior, Window: 5 * time.Minute, Now: epoch()}
			got := b.apply(History{Recommendations: tt.recent}, tt.wanted)
			if got.replicas != tt.want || got.able != tt.able || got.limit != tt.limit || got.bounded != tt.bounded {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHistoryOfChanges(t *testing.T) {
	b := &autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp:   policy{10, 60, 100, 30}.rules(autoscalingv2.MaxChangePolicySelect),
		ScaleDown: policy{10, 120, 0, 0}.rules(autoscalingv2.MaxChangePolicySelect),
	}
	old := []Moment{{7, epoch().Add(-61 * time.Second)}, {6, epoch().Add(-59 * time.Second)}}
	h := History{Ups: old, Downs: old}
	now := Moment{5, epoch()}
	if got := h.scaled(nil, 1, 6, epoch()); !slices.Equal(got.Ups, old) || !slices.Equal(got.Downs, old) {
		t.Errorf("without behavior: %+v", got)
	}
	if got := h.scaled(b, 1, 6, epoch()); !slices.Equal(got.Ups, []Moment{old[1], now}) || !slices.Equal(got.Downs, old) {
		t.Errorf("up: %+v", got)
	}
	if got := h.scaled(b, 6, 1, epoch()); !slices.Equal(got.Ups, old) || !slices.Equal(got.Downs, []Moment{old[0], old[1], now}) {
		t.Errorf("down: %+v", got)
	}
	if got := (History{}).begun(3, epoch()).begun(4, epoch()); !slices.Equal(got.Recommendations, []Moment{{3, epoch()}}) {
		t.Errorf("begun: %+v", got)
	}
}
