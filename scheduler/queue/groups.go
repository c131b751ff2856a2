package queue

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"skiff/scheduler/framework"
)

// group is the unschedulable pods that the same plugins keep waiting. A change that none of these cares about is none for
// all of them, however many they are.
type group struct {
	scheduler string
	plugins   []string
	gated     bool
	pods      map[types.UID]*Pod
}

// groups are all unschedulable pods, by what names their group.
type groups map[string]*group

func (g groups) add(p *Pod) {
	plugins := []string{p.GatedBy}
	if p.GatedBy == "" {
		plugins = append(p.UnschedulablePlugins.UnsortedList(), p.PendingPlugins.UnsortedList()...)
		slices.Sort(plugins)
	}
	key := strings.Join(append([]string{p.Info.Pod.Spec.SchedulerName}, plugins...), "\x00")
	if p.GatedBy != "" {
		key += "\x00\x00gated"
	}
	of := g[key]
	if of == nil {
		of = &group{p.Info.Pod.Spec.SchedulerName, plugins, p.GatedBy != "", map[types.UID]*Pod{}}
		g[key] = of
	}
	of.pods[p.Info.Pod.UID] = p
	p.group = key
}

func (g groups) remove(p *Pod) {
	of := g[p.group]
	if of == nil {
		return
	}
	if delete(of.pods, p.Info.Pod.UID); len(of.pods) == 0 {
		delete(g, p.group)
	}
}

// concerns reports whether the change may be of interest to a plugin that keeps the group waiting.
func (q *Queue) concerns(of *group, change framework.Change) bool {
	if change.Event.Resource == framework.WildCard {
		return true
	}
	for _, plugin := range of.plugins {
		registered, ok := q.events[of.scheduler][plugin]
		if !ok || slices.ContainsFunc(registered, func(r framework.ClusterEventWithHint) bool { return r.Event.Matches(change.Event) }) {
			return true
		}
	}
	return false
}
