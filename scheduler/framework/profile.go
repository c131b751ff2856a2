package framework

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Point is an extension point, spelled as kubescheduler.config.k8s.io/v1 does.
type Point string

// The extension points.
const (
	PointPreEnqueue Point = "preEnqueue"
	PointQueueSort  Point = "queueSort"
	PointPreFilter  Point = "preFilter"
	PointFilter     Point = "filter"
	PointPostFilter Point = "postFilter"
	PointPreScore   Point = "preScore"
	PointScore      Point = "score"
	PointReserve    Point = "reserve"
	PointPermit     Point = "permit"
	PointPreBind    Point = "preBind"
	PointBind       Point = "bind"
	PointPostBind   Point = "postBind"
)

// Points lists the extension points in the order a pod meets them.
func Points() []Point {
	return []Point{
		PointPreEnqueue, PointQueueSort, PointPreFilter, PointFilter, PointPostFilter, PointPreScore, PointScore,
		PointReserve, PointPermit, PointPreBind, PointBind, PointPostBind,
	}
}

// Extends reports whether a plugin can work at an extension point.
func Extends(p Plugin, at Point) bool {
	switch at {
	case PointPreEnqueue:
		return is[PreEnqueue](p)
	case PointQueueSort:
		return is[QueueSort](p)
	case PointPreFilter:
		return is[PreFilter](p)
	case PointFilter:
		return is[Filter](p)
	case PointPostFilter:
		return is[PostFilter](p)
	case PointPreScore:
		return is[PreScore](p)
	case PointScore:
		return is[Score](p)
	case PointReserve:
		return is[Reserve](p)
	case PointPermit:
		return is[Permit](p)
	case PointPreBind:
		return is[PreBind](p)
	case PointBind:
		return is[Bind](p)
	case PointPostBind:
		return is[PostBind](p)
	default:
		return false
	}
}

func is[T Plugin](p Plugin) bool {
	_, ok := p.(T)
	return ok
}

// Profile is a set of plugins under a scheduler name.
type Profile struct {
	// Name is the spec.schedulerName of the pods it serves.
	Name string
	// Plugins are, at each extension point, those that work there, in order. Every plugin must extend its point. Weight
	// counts at PointScore alone, where it must be above zero.
	Plugins map[Point][]Enabled
	// Observer may be nil.
	Observer Observer
}

// Everywhere enables every plugin at all points it extends, in order; one without a weight doesn't score.
func Everywhere(plugins []Enabled) map[Point][]Enabled {
	points := map[Point][]Enabled{}
	for _, at := range Points() {
		for _, e := range plugins {
			if Extends(e.Plugin, at) && (at != PointScore || e.Weight > 0) {
				points[at] = append(points[at], e)
			}
		}
	}
	return points
}

// NewProfile makes the framework of a profile. The errors are about the set of plugins as a whole.
func NewProfile(profile Profile, nominator Nominator) (*Framework, error) {
	f := &Framework{name: profile.Name, observer: profile.Observer, nominator: nominator, events: map[string][]ClusterEventWithHint{}}
	for _, at := range Points() {
		names := sets.New[string]()
		for _, e := range profile.Plugins[at] {
			if names.Has(e.Plugin.Name()) {
				return nil, fmt.Errorf("plugin %s is enabled twice at %s", e.Plugin.Name(), at)
			}
			names.Insert(e.Plugin.Name())
			f.listen(e.Plugin)
		}
	}
	if sorts := len(profile.Plugins[PointQueueSort]); sorts != 1 {
		return nil, fmt.Errorf("one queueSort plugin has to be enabled, not %d", sorts)
	}
	if len(profile.Plugins[PointBind]) == 0 {
		return nil, fmt.Errorf("at least one bind plugin has to be enabled")
	}
	if max(len(profile.Plugins[PointPreFilter]), len(profile.Plugins[PointFilter]), len(profile.Plugins[PointScore])) > 64 {
		return nil, fmt.Errorf("more than 64 preFilter, filter or score plugins are enabled")
	}
	f.addFiltering(profile.Plugins)
	f.addScoring(profile.Plugins)
	f.addBinding(profile.Plugins)
	return f, nil
}

// listen takes over what the plugin waits for.
func (f *Framework) listen(p Plugin) {
	if q, ok := p.(EnqueueExtensions); ok && f.events[p.Name()] == nil {
		f.events[p.Name()] = q.EventsToRegister()
	}
}

func (f *Framework) addFiltering(plugins map[Point][]Enabled) {
	f.order = at[QueueSort](plugins[PointQueueSort])[0]
	f.enqueue = at[PreEnqueue](plugins[PointPreEnqueue])
	f.filters = at[Filter](plugins[PointFilter])
	for _, q := range f.filters {
		f.filterCounts = append(f.filterCounts, f.counter(q, ranFilter))
		local, _ := q.(LocalFilter)
		f.localFilters = append(f.localFilters, local)
	}
	f.postFilt = at[PostFilter](plugins[PointPostFilter])
	for _, q := range at[PreFilter](plugins[PointPreFilter]) {
		extensions, _ := q.(PreFilterExtensions)
		f.pre = append(f.pre, preFilter{q, extensions, indexOf(f.filters, q.Name()), f.counter(q, ranPreFilter)})
	}
}

func (f *Framework) addScoring(plugins map[Point][]Enabled) {
	scores := at[Score](plugins[PointScore])
	for i, q := range scores {
		normalize, _ := q.(NormalizeScore)
		f.scorers = append(f.scorers, scorer{q, normalize, plugins[PointScore][i].Weight, f.counter(q, ranScore)})
	}
	for _, q := range at[PreScore](plugins[PointPreScore]) {
		f.preScore = append(f.preScore, preScore{q, indexOf(scores, q.Name()), f.counter(q, ranPreScore)})
	}
}

func (f *Framework) addBinding(plugins map[Point][]Enabled) {
	f.reserve = at[Reserve](plugins[PointReserve])
	f.permit = at[Permit](plugins[PointPermit])
	f.preBind = at[PreBind](plugins[PointPreBind])
	f.bind = at[Bind](plugins[PointBind])
	f.postBind = at[PostBind](plugins[PointPostBind])
	f.binders = sets.New[string]()
	for _, point := range []Point{PointReserve, PointPermit, PointPreBind, PointBind, PointPostBind} {
		for _, e := range plugins[point] {
			f.binders.Insert(e.Plugin.Name())
		}
	}
}

// at answers the plugins as what they are at their point.
func at[T Plugin](plugins []Enabled) []T {
	typed := make([]T, 0, len(plugins))
	for _, e := range plugins {
		if p, ok := e.Plugin.(T); ok {
			typed = append(typed, p)
		}
	}
	return typed
}

// indexOf answers where the plugin of a name is, -1 when it is not enabled.
func indexOf[T Plugin](plugins []T, name string) int {
	for i, p := range plugins {
		if p.Name() == name {
			return i
		}
	}
	return -1
}
