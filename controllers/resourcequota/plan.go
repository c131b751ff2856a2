package resourcequota

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"skiff/internal/quota"
)

// Status answers the status that a quota should have, given what was measured. What could not be measured keeps its
// last value. It reports whether that is anything new.
func Status(q *corev1.ResourceQuota, measured corev1.ResourceList) (corev1.ResourceQuotaStatus, bool) {
	next := corev1.ResourceQuotaStatus{Hard: maps.Clone(q.Spec.Hard), Used: corev1.ResourceList{}}
	for name := range q.Spec.Hard {
		if used, ok := measured[name]; ok {
			next.Used[name] = used
		} else if used, ok := q.Status.Used[name]; ok {
			next.Used[name] = used
		}
	}
	changed := q.Status.Hard == nil || q.Status.Used == nil ||
		!equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard) || !equality.Semantic.DeepEqual(next.Used, q.Status.Used)
	return next, changed
}

// Counted answers the kinds, in alphabetical order, whose objects are counted for one of the names.
func Counted(names []corev1.ResourceName) []schema.GroupResource {
	kinds := map[schema.GroupResource]bool{}
	for _, n := range names {
		if kind, ok := strings.CutPrefix(string(n), "count/"); ok {
			kinds[schema.ParseGroupResource(kind)] = true
		}
	}
	for _, kind := range quota.Aliased() {
		if alias, ok := quota.Alias(kind); ok && slices.Contains(names, alias) {
			kinds[kind] = true
		}
	}
	return slices.SortedFunc(maps.Keys(kinds), func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) })
}

// Concerned answers the keys of the quotas that limit what the meter measures.
func Concerned(m quota.Meter, quotas []*corev1.ResourceQuota) []*corev1.ResourceQuota {
	return slices.DeleteFunc(slices.Clone(quotas), func(q *corev1.ResourceQuota) bool {
		return len(m.Charged(Names(q.Spec.Hard))) == 0 && len(m.Charged(Names(q.Status.Hard))) == 0
	})
}

// Names answers the names of a list in alphabetical order.
func Names(l corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(l)) }

// Frees says whether an update may have changed what an object is charged without admission having charged it: a pod
// ended, was resized or got a deadline, a service changed its type, a claim its size or attributes class.
func Frees(before, after metav1.Object, c clock.PassiveClock) bool {
	switch now := after.(type) {
	case *corev1.Pod:
		was, ok := before.(*corev1.Pod)
		if !ok {
			return false
		}
		ended := quota.Running(was, c.Now()) && !quota.Running(now, c.Now())
		return ended || quota.Terminating(was) != quota.Terminating(now) || resized(was, now)
	case *corev1.Service:
		was, ok := before.(*corev1.Service)
		return ok && was.Spec.Type != now.Spec.Type
	case *corev1.PersistentVolumeClaim:
		was, ok := before.(*corev1.PersistentVolumeClaim)
		return ok && quota.ClaimChanged(was, now)
	}
	return false
}

func resized(before, after *corev1.Pod) bool {
	was := resources(before)
	for name, now := range resources(after) {
		if old, ok := was[name]; ok && !equality.Semantic.DeepEqual(old, now) {
			return true
		}
	}
	return !equality.Semantic.DeepEqual(before.Status.Resources, after.Status.Resources)
}

func resources(pod *corev1.Pod) map[string]*corev1.ResourceRequirements {
	out := map[string]*corev1.ResourceRequirements{}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		out[s.Name] = s.Resources
	}
	return out
}

// sameLimits says whether two versions of a quota limit the same.
func sameLimits(a, b *corev1.ResourceQuota) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec)
}
