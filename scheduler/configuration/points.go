package configuration

import (
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"skiff/scheduler/framework"
)

// all disables every plugin at a point.
const all = "*"

// pluginSets are the plugins of a profile by extension point, without multiPoint.
func pluginSets(p *schedv1.Plugins) map[string]*schedv1.PluginSet {
	return map[string]*schedv1.PluginSet{
		string(framework.PointPreEnqueue): &p.PreEnqueue, string(framework.PointQueueSort): &p.QueueSort,
		string(framework.PointPreFilter): &p.PreFilter, string(framework.PointFilter): &p.Filter,
		string(framework.PointPostFilter): &p.PostFilter, string(framework.PointPreScore): &p.PreScore,
		string(framework.PointScore): &p.Score, string(framework.PointReserve): &p.Reserve,
		string(framework.PointPermit): &p.Permit, string(framework.PointPreBind): &p.PreBind,
		string(framework.PointBind): &p.Bind, string(framework.PointPostBind): &p.PostBind,
	}
}

func pointNames() []string {
	names := make([]string, 0, len(framework.Points()))
	for _, at := range framework.Points() {
		names = append(names, string(at))
	}
	return names
}

// Points merges the plugins a profile names with the default ones and spreads those of multiPoint over the extension
// points, by upstream's rules:
//
//   - A default plugin that multiPoint disables is left out everywhere; "*" leaves all out. One that multiPoint enables
//     again keeps its place and takes the new weight; others follow in their order.
//   - At an extension point first come plugins of multiPoint that the point names too, in the point's order, then the
//     other plugins of multiPoint, then those that the point alone names. What the point disables is left out of those
//     of multiPoint; "*" leaves all but the point's own.
//   - The weight of a point counts before that of multiPoint; none, or 0, is 1.
//
// A plugin whose Filter or Score leans on its PreFilter or PreScore must have both or neither. The defaults hold a plugin
// of every name that the profile may use, with the default weight.
func Points(defaults []framework.Enabled, profile *schedv1.Plugins, path *field.Path) (map[framework.Point][]framework.Enabled, error) {
	if profile == nil {
		profile = &schedv1.Plugins{}
	}
	m := &merger{plugins: map[string]framework.Plugin{}, path: path}
	multi := schedv1.PluginSet{}
	for _, e := range defaults {
		m.plugins[e.Plugin.Name()] = e.Plugin
		multi.Enabled = append(multi.Enabled, schedv1.Plugin{Name: e.Plugin.Name(), Weight: ptr.To(int32(e.Weight))}) //nolint:gosec // small
	}
	multi = merge(multi, profile.MultiPoint)
	points := map[framework.Point][]framework.Enabled{}
	own := pluginSets(profile)
	for _, at := range framework.Points() {
		enabled, err := m.expand(at, own[string(at)], multi.Enabled)
		if err != nil {
			return nil, err
		}
		points[at] = enabled
	}
	if err := m.paired(points); err != nil {
		return nil, err
	}
	return points, m.limited(points[framework.PointScore])
}

// merge answers the default plugins as custom changes them.
func merge(defaults, custom schedv1.PluginSet) schedv1.PluginSet {
	disabled, again := sets.New[string](), map[string]int{}
	for _, p := range custom.Disabled {
		disabled.Insert(p.Name)
	}
	for i, p := range custom.Enabled {
		again[p.Name] = i
	}
	var merged schedv1.PluginSet
	replaced := sets.New[int]()
	for _, p := range defaults.Enabled {
		if disabled.Has(all) || disabled.Has(p.Name) {
			continue
		}
		if i, ok := again[p.Name]; ok {
			p = custom.Enabled[i]
			replaced.Insert(i)
		}
		merged.Enabled = append(merged.Enabled, p)
	}
	for i, p := range custom.Enabled {
		if !replaced.Has(i) {
			merged.Enabled = append(merged.Enabled, p)
		}
	}
	return merged
}

// merger knows a profile's plugins by name and where its errors are.
type merger struct {
	plugins map[string]framework.Plugin
	path    *field.Path
}

// expand answers the plugins of one extension point.
func (m *merger) expand(at framework.Point, own *schedv1.PluginSet, multi []schedv1.Plugin) ([]framework.Enabled, error) {
	named, disabled := sets.New[string](), sets.New[string]()
	for i, p := range own.Enabled {
		where := m.path.Child(string(at), "enabled").Index(i)
		switch {
		case !framework.Extends(m.plugins[p.Name], at):
			return nil, field.Invalid(where, p.Name, fmt.Sprintf("the plugin has nothing to do at %s, leave it out", at))
		case named.Has(p.Name):
			return nil, field.Duplicate(where, p.Name)
		}
		named.Insert(p.Name)
	}
	for _, p := range own.Disabled {
		disabled.Insert(p.Name)
	}
	var both, others []framework.Enabled
	seen := sets.New[string]()
	for _, p := range multi {
		if disabled.Has(all) || disabled.Has(p.Name) || !framework.Extends(m.plugins[p.Name], at) || named.Has(p.Name) {
			continue
		}
		if seen.Has(p.Name) {
			return nil, field.Duplicate(m.path.Child("multiPoint", "enabled"), p.Name)
		}
		seen.Insert(p.Name)
		others = append(others, m.enabled(p))
	}
	in := sets.New[string]()
	for _, p := range multi {
		in.Insert(p.Name)
	}
	for _, p := range own.Enabled {
		if in.Has(p.Name) && !disabled.Has(all) && !disabled.Has(p.Name) {
			both = append(both, m.enabled(p))
		} else {
			others = append(others, m.enabled(p))
		}
	}
	return append(both, others...), nil
}

func (m *merger) enabled(p schedv1.Plugin) framework.Enabled {
	weight := ptr.Deref(p.Weight, 0)
	if weight == 0 {
		weight = 1
	}
	return framework.Enabled{Plugin: m.plugins[p.Name], Weight: int64(weight)}
}

// paired: what a plugin computes once for a pod it must be able to use, and what it uses must have been computed.
func (m *merger) paired(points map[framework.Point][]framework.Enabled) error {
	for _, pair := range [][2]framework.Point{{framework.PointPreFilter, framework.PointFilter}, {framework.PointPreScore, framework.PointScore}} {
		before, after := pair[0], pair[1]
		prepared := sets.New[string]()
		for _, e := range points[before] {
			prepared.Insert(e.Plugin.Name())
		}
		for _, e := range points[after] {
			if name := e.Plugin.Name(); framework.Extends(e.Plugin, before) && !prepared.Has(name) {
				return field.Invalid(m.path.Child(string(before)), name, fmt.Sprintf("the plugin is off here and on at %s, which needs it: disable it at both or at neither", after))
			}
		}
	}
	return nil
}

// limited: weighted scores must not overflow when they are summed.
func (m *merger) limited(scores []framework.Enabled) error {
	total := int64(0)
	for _, e := range scores {
		if e.Weight < 0 {
			return field.Invalid(m.path.Child("score"), e.Plugin.Name(), "its weight is negative, give one above zero")
		}
		if e.Weight > (math.MaxInt64-total)/framework.MaxNodeScore {
			return field.Invalid(m.path.Child("score"), e.Plugin.Name(), "total score of Score plugins could overflow")
		}
		total += e.Weight * framework.MaxNodeScore
	}
	return nil
}
