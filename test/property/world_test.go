package property

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/hollow"
)

// world is what existed at one moment of a history, and what rules remember.
type world struct {
	objects   map[types.UID]metav1.Object
	windows   map[types.UID]*window
	jobs      map[types.UID]*tally
	disturbed map[types.UID]bool // pods
	broken    []string
}

// window is what was asked of a workload since it was last settled: a controller may still act on any of it.
type window struct {
	most, least  int32 // pods that may exist, that must be available
	extra, short int32 // of daemon sets: nodes with two pods, nodes without an available one
	lowest       int32 // of stateful sets: the least number of replicas
	disturbed    bool
	settled      bool // all that was asked is done
	hurried      bool // more was asked before that, when pods may not have been available
}

// change is one step: what an object was, if it was, and what it is; nil for nothing.
type change struct {
	number         int64
	before, after  metav1.Object
	created, ended bool
}

// replay checks every rule at every version and answers what was broken.
func replay(h *history) []string { return remember(h).broken }

func remember(h *history) *world {
	w := &world{objects: map[types.UID]metav1.Object{}, windows: map[types.UID]*window{}, jobs: map[types.UID]*tally{}, disturbed: h.disturbed}
	for _, v := range h.sorted() {
		uid := v.object.GetUID()
		c := change{number: v.number, before: w.objects[uid], after: v.object, ended: v.gone}
		c.created = c.before == nil
		if v.gone {
			delete(w.objects, uid)
		} else {
			w.objects[uid] = v.object
		}
		w.step(c)
	}
	return w
}

func (w *world) step(c change) {
	switch o := c.after.(type) {
	case *corev1.Pod:
		w.pod(c, o)
	default:
		w.workload(c)
	}
}

func (w *world) breaks(c change, rule string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf("at %d: ", c.number)+fmt.Sprintf(rule, args...))
}

// pod finds the rules for a pod's change.
func (w *world) pod(c change, p *corev1.Pod) {
	ref := metav1.GetControllerOf(p)
	if ref == nil {
		return
	}
	root := ref.UID
	if set, ok := w.objects[root]; ok && ref.Kind == "ReplicaSet" {
		if up := metav1.GetControllerOf(set); up != nil {
			root = up.UID
		}
	}
	win := w.window(root)
	if w.disturbed[p.UID] || p.Annotations[hollow.EvictedAnnotation] == "true" || p.Annotations[hollow.ReadyAnnotation] == "false" || p.Status.Phase == corev1.PodFailed || lost(c, p) {
		win.disturbed = true
	}
	switch ref.Kind {
	case "ReplicaSet":
		w.replicaSetPod(c, p, ref.UID, root)
	case "StatefulSet":
		w.statefulSetPod(c, p, root)
	case "DaemonSet":
		w.daemonSetPod(c, p, root)
	case "Job":
		w.jobPod(c, p, root)
	}
}

func (w *world) window(uid types.UID) *window {
	if w.windows[uid] == nil {
		w.windows[uid] = &window{}
	}
	return w.windows[uid]
}

// lost reports whether a pod that was available isn't any more although nobody deletes it.
func lost(c change, p *corev1.Pod) bool {
	old, ok := c.before.(*corev1.Pod)
	return ok && available(old) && p.DeletionTimestamp == nil && !available(p)
}

// takes reports whether c begins the deletion of a pod that was available, or ends it at once.
func takes(c change, p *corev1.Pod) bool {
	old, ok := c.before.(*corev1.Pod)
	return ok && available(old) && (p.DeletionTimestamp != nil || c.ended)
}

// active pods are those that a controller counts.
func active(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func available(p *corev1.Pod) bool {
	return active(p) && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func count[T any](list []T, is func(T) bool) int32 {
	var n int32
	for _, x := range list {
		if is(x) {
			n++
		}
	}
	return n
}
