package plugins_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

// wakes reports whether a change makes a pod that the plugin rejected be tried again.
func (w *world) wakes(plugin string, pod *corev1.Pod, change framework.Change) bool {
	w.t.Helper()
	registered, ok := w.framework.Events()[plugin]
	if !ok {
		w.t.Fatalf("plugin %s waits for nothing", plugin)
	}
	return slices.ContainsFunc(registered, func(r framework.ClusterEventWithHint) bool {
		return r.Event.Matches(change.Event) && (r.Hint == nil || r.Hint(info(w.t, pod), change) == framework.Queue)
	})
}

func changed(resource framework.EventResource, action framework.ActionType, before, after any) framework.Change {
	return framework.Change{Event: framework.ClusterEvent{Resource: resource, Action: action}, Old: before, New: after}
}

func added(resource framework.EventResource, object any) framework.Change {
	return changed(resource, framework.Add, nil, object)
}

func updated(resource framework.EventResource, before, after any) framework.Change {
	return changed(resource, framework.UpdateOther, before, after)
}

func deleted(resource framework.EventResource, object any) framework.Change {
	return changed(resource, framework.Delete, object, nil)
}

type hintCase struct {
	name   string
	pod    *corev1.Pod
	change framework.Change
	want   bool
}

func checkHints(t *testing.T, plugin string, cases []hintCase) {
	t.Helper()
	w := newWorld(t, nil)
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := w.wakes(plugin, test.pod, test.change); got != test.want {
				t.Errorf("wakes the pod: %v, want %v", got, test.want)
			}
		})
	}
}

// plugin answers one of the default plugins by name, over the same informers.
func (w *world) plugin(name string) framework.Plugin {
	w.t.Helper()
	for _, e := range plugins.Default(w.deps()) {
		if e.Plugin.Name() == name {
			return e.Plugin
		}
	}
	w.t.Fatalf("no plugin %s", name)
	return nil
}

// preFilter answers what one plugin says before it looks at nodes, as verdicts does.
func (w *world) preFilter(name string, pod *corev1.Pod) string {
	w.t.Helper()
	_, s := w.plugin(name).(framework.PreFilter).PreFilter(w.t.Context(), framework.NewCycle(info(w.t, pod), w.cache.Snapshot()))
	return describe(s)
}

// filter answers what one plugin says of a node; "" also when it skips the pod.
func (w *world) filter(name string, pod *corev1.Pod, node string) string {
	w.t.Helper()
	p, c := w.plugin(name), framework.NewCycle(info(w.t, pod), w.cache.Snapshot())
	if pre, ok := p.(framework.PreFilter); ok {
		switch _, s := pre.PreFilter(w.t.Context(), c); {
		case s.IsSkip():
			return ""
		case !s.IsSuccess():
			w.t.Fatalf("PreFilter says %q", describe(s))
		}
	}
	n, ok := c.Snapshot.Node(node)
	if !ok {
		w.t.Fatalf("no node %s", node)
	}
	return describe(p.(framework.Filter).Filter(w.t.Context(), c, n))
}
