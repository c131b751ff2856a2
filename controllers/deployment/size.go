package deployment

import (
	"math"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const maxInt32 = math.MaxInt32

func specReplicas(set *appsv1.ReplicaSet) int32 {
	if set == nil || set.Spec.Replicas == nil {
		return 0
	}
	return *set.Spec.Replicas
}

func statusReplicas(set *appsv1.ReplicaSet) int32    { return set.Status.Replicas }
func availableReplicas(set *appsv1.ReplicaSet) int32 { return set.Status.AvailableReplicas }
func readyReplicas(set *appsv1.ReplicaSet) int32     { return set.Status.ReadyReplicas }

// staying are a set's available pods but those that it was told to delete: its status may not say so yet.
func staying(set *appsv1.ReplicaSet) int32 { return min(availableReplicas(set), specReplicas(set)) }

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	var n int32
	for _, set := range sets {
		n += of(set)
	}
	return n
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var found []*appsv1.ReplicaSet
	for _, set := range sets {
		if specReplicas(set) > 0 {
			found = append(found, set)
		}
	}
	return found
}

// fences resolves maxSurge (rounded up) and maxUnavailable (rounded down) to numbers of pods. When both come out as
// zero one pod may be unavailable, or the rollout could never move.
func fences(d *appsv1.Deployment) (surge, unavailable int32) {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || rolling == nil {
		return 0, 0
	}
	replicas := int(*d.Spec.Replicas)
	surge = scaled(rolling.MaxSurge, replicas, true)
	unavailable = scaled(rolling.MaxUnavailable, replicas, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func scaled(v *intstr.IntOrString, total int, up bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), total, up)
	if err != nil {
		return 0 // validation admits only numbers and percentages
	}
	return int32(n)
}

func maxSurge(d *appsv1.Deployment) int32 {
	surge, _ := fences(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	_, unavailable := fences(d)
	return min(unavailable, *d.Spec.Replicas)
}

// newSize answers the size that the current set may have at once: with Recreate all of it, else what surge leaves.
func newSize(d *appsv1.Deployment, all []*appsv1.ReplicaSet, current *appsv1.ReplicaSet) int32 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return *d.Spec.Replicas
	}
	room := *d.Spec.Replicas + maxSurge(d) - sum(all, specReplicas)
	if room <= 0 {
		return specReplicas(current)
	}
	return specReplicas(current) + min(room, *d.Spec.Replicas-specReplicas(current))
}

// resized answers whether the deployment's size was changed since its sets were last scaled. Recreate in the middle of
// a rollout has nothing to share out: its old sets go to zero whatever the size.
func (p *planner) resized() bool {
	if p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && p.onlyActive() == nil {
		return false
	}
	for _, set := range active(p.all()) {
		if desired, ok := annotatedSize(set, desiredAnnotation); ok && desired != *p.d.Spec.Replicas {
			return true
		}
	}
	return false
}

// rescale follows a change of size without moving the rollout: the only active set takes it all; after a complete
// rollout old sets go to zero; in the middle of one every set changes in proportion to its size.
func (p *planner) rescale() {
	if only := p.onlyActive(); only != nil {
		p.scale(only, *p.d.Spec.Replicas)
		p.annotate(only)
		return
	}
	if p.saturated() {
		for _, set := range active(p.old) {
			p.scale(set, 0)
		}
		return
	}
	if p.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		p.proportional()
	}
}

// onlyActive answers the one set with replicas; without any, the current or else the newest set.
func (p *planner) onlyActive() *appsv1.ReplicaSet {
	switch sets := active(p.all()); {
	case len(sets) == 1:
		return sets[0]
	case len(sets) > 1:
		return nil
	case p.current != nil:
		return p.current
	case len(p.old) > 0:
		return p.old[len(p.old)-1]
	}
	return nil
}

func (p *planner) saturated() bool {
	if p.current == nil {
		return false
	}
	desired, ok := annotatedSize(p.current, desiredAnnotation)
	want := *p.d.Spec.Replicas
	return ok && desired == want && specReplicas(p.current) == want && p.current.Status.AvailableReplicas == want
}

// proportional shares a change of size among the active sets by their sizes, the largest first; what rounding leaves
// goes to the first one.
func (p *planner) proportional() {
	sets := active(p.all())
	allowed := int32(0)
	if *p.d.Spec.Replicas > 0 {
		allowed = *p.d.Spec.Replicas + maxSurge(p.d)
	}
	toAdd := allowed - sum(sets, specReplicas)
	bySize(sets, toAdd > 0)
	sizes := make([]int32, len(sets))
	added := int32(0)
	for i, set := range sets {
		share := p.share(set, toAdd, added)
		sizes[i] = specReplicas(set) + share
		added += share
	}
	for i, set := range sets {
		if i == 0 {
			sizes[i] = max(0, sizes[i]+toAdd-added)
		}
		p.scale(set, sizes[i])
		p.annotate(set)
	}
}

// share answers the set's part of a change of toAdd pods, of which added are given away.
func (p *planner) share(set *appsv1.ReplicaSet, toAdd, added int32) int32 {
	if toAdd == 0 || toAdd == added {
		return 0
	}
	fraction := p.fraction(set)
	if toAdd > 0 {
		return min(fraction, toAdd-added)
	}
	return max(fraction, toAdd-added)
}

func (p *planner) fraction(set *appsv1.ReplicaSet) int32 {
	if *p.d.Spec.Replicas == 0 {
		return -specReplicas(set)
	}
	before, ok := annotatedSize(set, maxAnnotation)
	if !ok || before == 0 {
		before = p.d.Status.Replicas
	}
	if before == 0 {
		return 0
	}
	size := float64(specReplicas(set)) * float64(*p.d.Spec.Replicas+maxSurge(p.d)) / float64(before)
	return int32(math.Round(size)) - specReplicas(set)
}

// annotate keeps the size annotations of a set true even when its own size stays.
func (p *planner) annotate(set *appsv1.ReplicaSet) { annotateSize(set, p.d) }

// bySize sorts the largest first; of equal ones the newer first when growing, the older first when shrinking.
func bySize(sets []*appsv1.ReplicaSet, growing bool) {
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if specReplicas(a) != specReplicas(b) {
			return int(specReplicas(b) - specReplicas(a))
		}
		if growing {
			return compareAge(b, a)
		}
		return compareAge(a, b)
	})
}

// byCreation answers the sets from the oldest to the newest.
func byCreation(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.SortedStableFunc(slices.Values(sets), compareAge)
}

// compareAge orders the older first, and by name those of the same second.
func compareAge(a, b *appsv1.ReplicaSet) int {
	switch {
	case a.CreationTimestamp.Equal(&b.CreationTimestamp):
		return strings.Compare(a.Name, b.Name)
	case a.CreationTimestamp.Before(&b.CreationTimestamp):
		return -1
	}
	return 1
}

func byRevision(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.SortedStableFunc(slices.Values(sets), func(a, b *appsv1.ReplicaSet) int {
		if ra, rb := revisionOf(a), revisionOf(b); ra != rb {
			if ra < rb {
				return -1
			}
			return 1
		}
		return compareAge(a, b)
	})
}
