package property

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// workload takes a new version of a workload into its window.
func (w *world) workload(c change) {
	if c.ended {
		return
	}
	switch o := c.after.(type) {
	case *appsv1.Deployment:
		w.see(o.UID, deploymentWindow(o), deploymentSettled(o))
	case *appsv1.ReplicaSet:
		w.replicaSet(c, o)
	case *appsv1.StatefulSet:
		n := *o.Spec.Replicas
		s := o.Status
		settled := s.ObservedGeneration == o.Generation && s.Replicas == n && s.AvailableReplicas == n &&
			(s.UpdateRevision == s.CurrentRevision || *o.Spec.UpdateStrategy.RollingUpdate.Partition > 0 && s.UpdatedReplicas == max(0, n-*o.Spec.UpdateStrategy.RollingUpdate.Partition))
		w.see(o.UID, window{most: n, least: n - 1, lowest: n}, settled)
	case *appsv1.DaemonSet:
		s := o.Status
		settled := s.ObservedGeneration == o.Generation && s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled && s.NumberMisscheduled == 0
		r := o.Spec.UpdateStrategy.RollingUpdate
		if c.before != nil && c.before.GetGeneration() != o.Generation && !w.window(o.UID).settled {
			w.window(o.UID).hurried = true
		}
		w.see(o.UID, window{extra: scaled(r.MaxSurge, 0), short: scaled(r.MaxUnavailable, 0)}, settled)
	case *batchv1.Job:
		w.job(c, o)
	}
}

// see widens the window by what is asked now, or makes it what is asked now when all that was asked before is done.
func (w *world) see(uid types.UID, now window, settled bool) {
	old := w.windows[uid]
	if old == nil || settled {
		now.settled = settled
		w.windows[uid] = &now
		return
	}
	old.settled = false
	old.most, old.least, old.lowest = max(old.most, now.most), min(old.least, now.least), min(old.lowest, now.lowest)
	old.extra, old.short = max(old.extra, now.extra), max(old.short, now.short)
}

func deploymentWindow(d *appsv1.Deployment) window {
	n := *d.Spec.Replicas
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return window{most: n}
	}
	r := d.Spec.Strategy.RollingUpdate
	surge, unavailable := scaled(r.MaxSurge, n), scaled(r.MaxUnavailable, n)
	return window{most: n + surge, least: n - unavailable}
}

func deploymentSettled(d *appsv1.Deployment) bool {
	n, s := *d.Spec.Replicas, d.Status
	return s.ObservedGeneration == d.Generation && s.Replicas == n && s.UpdatedReplicas == n && s.AvailableReplicas == n
}

func scaled(v *intstr.IntOrString, of int32) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(of), true)
	if err != nil {
		panic(err) // histories use numbers
	}
	return int32(n)
}

// replicaSet: the sets of a deployment never ask for more pods than its surge allows.
func (w *world) replicaSet(c change, set *appsv1.ReplicaSet) {
	n := *set.Spec.Replicas
	settled := set.Status.ObservedGeneration == set.Generation && set.Status.Replicas == n
	w.see(set.UID, window{most: n}, settled)
	ref := metav1.GetControllerOf(set)
	if ref == nil {
		return
	}
	var asked int32
	for _, o := range w.objects {
		if other, ok := o.(*appsv1.ReplicaSet); ok && metav1.GetControllerOf(other) != nil && metav1.GetControllerOf(other).UID == ref.UID {
			asked += *other.Spec.Replicas
		}
	}
	old, had := c.before.(*appsv1.ReplicaSet)
	if most := w.window(ref.UID).most; asked > most && (!had || *old.Spec.Replicas < n) {
		w.breaks(c, "replica set %s makes it %d pods, at most %d are allowed", set.Name, asked, most)
	}
}

// replicaSetPod: a set makes no pod twice, and a rollout takes none that is needed.
func (w *world) replicaSetPod(c change, p *corev1.Pod, set, deployment types.UID) {
	if c.created && !c.ended {
		if n, most := count(owned(w.objects, set), active), w.window(set).most; n > most {
			w.breaks(c, "pod %s is the %d. of its set, which asked for %d", p.Name, n, most)
		}
	}
	win := w.window(deployment)
	if win.disturbed || !takes(c, p) {
		return
	}
	var left int32
	for _, o := range w.objects {
		if s, ok := o.(*appsv1.ReplicaSet); ok && metav1.GetControllerOf(s) != nil && metav1.GetControllerOf(s).UID == deployment {
			left += count(owned(w.objects, s.UID), available)
		}
	}
	if left < win.least {
		w.breaks(c, "deleting pod %s leaves %d available, at least %d are promised", p.Name, left, win.least)
	}
}

// statefulSetPod: one pod an ordinal, made in order, and one deleted at a time.
func (w *world) statefulSetPod(c change, p *corev1.Pod, set types.UID) {
	win := w.window(set)
	n := ordinal(p)
	pods := owned(w.objects, set)
	if c.created && !c.ended {
		if n >= win.most {
			w.breaks(c, "pod %s is made, %d replicas were asked for", p.Name, win.most)
		}
		if same := count(pods, func(o *corev1.Pod) bool { return ordinal(o) == n }); same > 1 {
			w.breaks(c, "there are %d pods of ordinal %d", same, n)
		}
		if ready := count(pods, func(o *corev1.Pod) bool { return ordinal(o) < n && available(o) }); !win.disturbed && ready < n {
			w.breaks(c, "pod %s is made although only %d before it are ready", p.Name, ready)
		}
	}
	if win.disturbed || !takes(c, p) {
		return
	}
	if ready := count(pods, func(o *corev1.Pod) bool { return ordinal(o) < win.lowest && available(o) }); ready < win.lowest-1 {
		w.breaks(c, "deleting pod %s leaves %d of %d ready", p.Name, ready, win.lowest)
	}
}

func ordinal(p *corev1.Pod) int32 {
	n, err := strconv.ParseInt(p.Name[strings.LastIndexByte(p.Name, '-')+1:], 10, 32)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

// daemonSetPod: one pod a node, a second only as far as surge allows, and none taken that is needed. Surge doesn't bound
// second pods of nodes whose first one isn't available.
func (w *world) daemonSetPod(c change, p *corev1.Pod, set types.UID) {
	win := w.window(set)
	all, well := map[string]int32{}, map[string]bool{}
	for _, o := range owned(w.objects, set) {
		if active(o) {
			all[target(o)]++
		}
		well[target(o)] = well[target(o)] || available(o)
	}
	if c.created && !c.ended {
		var twice int32
		for _, n := range all {
			if n > 1 {
				twice++
			}
		}
		if n := all[target(p)]; n > 2 || twice > win.extra && !win.disturbed && !win.hurried {
			w.breaks(c, "pod %s is the %d. of its node, %d nodes have more than one, %d may", p.Name, n, twice, win.extra)
		}
	}
	if win.disturbed || !takes(c, p) {
		return
	}
	if short := count(hollowNodes(), func(node string) bool { return !well[node] }); short > max(win.short, 0) {
		w.breaks(c, "deleting pod %s leaves %d nodes without one, %d may be", p.Name, short, win.short)
	}
}

// target is the node that a daemon set's pod is for.
func target(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
}
