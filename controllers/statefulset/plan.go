package statefulset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff/controllers/internal/podset"
)

// Snapshot is what a plan is made from.
type Snapshot struct {
	Set *appsv1.StatefulSet
	// Pods are the pods that the set controls.
	Pods []*corev1.Pod
	// Current and Update are the names of the revisions that are rolled out from and to.
	Current, Update string
	Collisions      *int32
	// Claims are the claims of the pods, by name.
	Claims map[string]*corev1.PersistentVolumeClaim
	Now    time.Time
}

// Plan is what to do, in this order.
type Plan struct {
	Create []Creation
	Delete []*corev1.Pod
	// Claim are pods that wait and may lack claims.
	Claim []*corev1.Pod
	// Fix are pods that lost their identity, or whose claims have other owners than they should, with their ordinals.
	Fix map[int]*corev1.Pod
	// Own are pods beyond the replicas whose claims have other owners than they should.
	Own    []*corev1.Pod
	Status appsv1.StatefulSetStatus
}

// Creation is one pod to create, of the current or the update revision.
type Creation struct {
	Ordinal  int
	Revision string
}

// planner carries the state of one planning.
type planner struct {
	Snapshot
	first, count int
	replicas     []*corev1.Pod // by ordinal - first
	condemned    []*corev1.Pod // the highest ordinal first
	plan         Plan
}

// NewPlan makes the next steps. With OrderedReady that is one pod at a time: every pod waits for those before it.
func NewPlan(s Snapshot) Plan {
	p := newPlanner(s)
	p.plan.Status = p.status()
	if s.Set.DeletionTimestamp != nil {
		return p.plan
	}
	if p.fill() && p.shrink() {
		p.roll()
	}
	return p.plan
}

func newPlanner(s Snapshot) *planner {
	p := &planner{Snapshot: s, count: 1, plan: Plan{Fix: map[int]*corev1.Pod{}}}
	if s.Set.Spec.Replicas != nil {
		p.count = int(*s.Set.Spec.Replicas)
	}
	if s.Set.Spec.Ordinals != nil {
		p.first = int(s.Set.Spec.Ordinals.Start)
	}
	p.replicas = make([]*corev1.Pod, p.count)
	for _, pod := range s.Pods {
		switch n := ordinal(s.Set, pod); {
		case n == none:
		case n >= p.first && n < p.first+p.count:
			p.replicas[n-p.first] = pod
		default:
			p.condemned = append(p.condemned, pod)
		}
	}
	slices.SortFunc(p.condemned, func(a, b *corev1.Pod) int { return ordinal(s.Set, b) - ordinal(s.Set, a) })
	return p
}

func (p *planner) ordered() bool {
	return p.Set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// fill makes sure that every ordinal has a pod; it answers false while a pod must be waited for.
func (p *planner) fill() bool {
	done := true
	for i, pod := range p.replicas {
		ok := p.settle(p.first+i, pod)
		done = done && ok
		if !ok && p.ordered() {
			return false
		}
	}
	return done || !p.ordered()
}

func (p *planner) settle(n int, pod *corev1.Pod) bool {
	switch {
	case pod == nil:
		p.plan.Create = append(p.plan.Create, Creation{n, p.revisionOf(n)})
		return false
	case pod.DeletionTimestamp != nil:
		return false
	case podset.Finished(pod):
		p.plan.Delete = append(p.plan.Delete, pod)
		return false
	}
	if pod.Status.Phase == corev1.PodPending && len(p.Set.Spec.VolumeClaimTemplates) > 0 {
		p.plan.Claim = append(p.plan.Claim, pod)
	}
	if p.ordered() && !p.available(pod) {
		return false
	}
	if !identified(pod, n) || p.misowned(pod) {
		p.plan.Fix[n] = pod
	}
	return p.available(pod)
}

// misowned reports whether the owners of a pod's claims are not what the retention policy demands.
func (p *planner) misowned(pod *corev1.Pod) bool {
	return slices.ContainsFunc(claims(p.Set, ordinal(p.Set, pod)), func(c *corev1.PersistentVolumeClaim) bool {
		found := p.Claims[c.Name]
		return found != nil && !equality.Semantic.DeepEqual(found.OwnerReferences, claimOwners(p.Set, found, pod))
	})
}

// revisionOf answers the revision that a new pod of the ordinal gets: below the partition the current one.
func (p *planner) revisionOf(n int) string {
	if p.Current == p.Update || p.Set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return p.Update
	}
	rolling := p.Set.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil && n < p.first+int(p.plan.Status.CurrentReplicas) {
		return p.Current
	}
	if rolling != nil && rolling.Partition != nil && n < p.first+int(*rolling.Partition) {
		return p.Current
	}
	return p.Update
}

// shrink deletes the pods beyond the replicas, the highest ordinal first; in order, each waits for the one above, and one
// that isn't available for those below that aren't either.
func (p *planner) shrink() bool {
	p.plan.Own = podset.Select(p.condemned, p.misowned)
	for i, pod := range p.condemned {
		if p.ordered() && (pod.DeletionTimestamp != nil || !p.available(pod) && slices.ContainsFunc(p.condemned[i+1:], p.away)) {
			return false
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		p.plan.Delete = append(p.plan.Delete, pod)
		if p.ordered() {
			return false
		}
	}
	return true
}

// roll replaces pods of other revisions from the highest ordinal down to the partition, as many at once as may be
// unavailable. In parallel, those that are unavailable anyway come first and are replaced without regard to that.
func (p *planner) roll() {
	strategy := p.Set.Spec.UpdateStrategy
	if strategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	partition, budget := 0, p.maxUnavailable()
	if strategy.RollingUpdate != nil && strategy.RollingUpdate.Partition != nil {
		partition = min(int(*strategy.RollingUpdate.Partition), p.count)
	}
	var idle, useful []*corev1.Pod
	for i, pod := range slices.Backward(p.replicas) {
		if pod == nil || p.away(pod) {
			budget--
		}
		switch {
		case i < partition || pod == nil || pod.DeletionTimestamp != nil || pod.Labels[appsv1.ControllerRevisionHashLabelKey] == p.Update:
		case slices.Contains(p.plan.Delete, pod):
		case p.available(pod):
			useful = append(useful, pod)
		default:
			idle = append(idle, pod)
		}
	}
	p.plan.Delete = slices.Concat(p.plan.Delete, idle, useful[:max(0, min(budget, len(useful)))])
}

// maxUnavailable rounds down, and is at least one.
func (p *planner) maxUnavailable() int {
	rolling := p.Set.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || rolling.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, p.count, false)
	if err != nil {
		return 1 // validation admits only numbers and percentages
	}
	return max(1, n)
}

func runningAndReady(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && podset.Ready(pod)
}

func (p *planner) available(pod *corev1.Pod) bool {
	return runningAndReady(pod) && podset.Available(pod, p.Set.Spec.MinReadySeconds, p.Now)
}

// away reports whether a pod is of no use now.
func (p *planner) away(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || !p.available(pod)
}

// status counts the pods, and ends a rollout when all of them are of the update revision and ready.
func (p *planner) status() appsv1.StatefulSetStatus {
	s := appsv1.StatefulSetStatus{
		ObservedGeneration: p.Set.Generation, CurrentRevision: p.Current, UpdateRevision: p.Update,
		CollisionCount: p.Collisions, Conditions: p.Set.Status.Conditions,
	}
	for _, pod := range slices.Concat(p.replicas, p.condemned) {
		if pod == nil || pod.Status.Phase == "" {
			continue
		}
		s.Replicas++
		if runningAndReady(pod) {
			s.ReadyReplicas++
			if p.available(pod) {
				s.AvailableReplicas++
			}
		}
		revision := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
		if pod.DeletionTimestamp == nil && revision == p.Current {
			s.CurrentReplicas++
		}
		if pod.DeletionTimestamp == nil && revision == p.Update {
			s.UpdatedReplicas++
		}
	}
	rolling := p.Set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType
	if rolling && s.UpdatedReplicas == int32(p.count) && s.Replicas == int32(p.count) && s.ReadyReplicas == int32(p.count) {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
	return s
}
