package deployment

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Snapshot is what a plan is made from. Nothing in it is changed.
type Snapshot struct {
	Deployment *appsv1.Deployment
	// Sets are the replica sets that the deployment controls.
	Sets []*appsv1.ReplicaSet
	// Pods are the pods of Sets that have not finished, by set; only Recreate looks at them.
	Pods map[string][]*corev1.Pod
	Now  time.Time
}

// Plan is the next step of a rollout.
type Plan struct {
	// Create is the replica set of the current template, when there is none yet.
	Create *appsv1.ReplicaSet
	// Update are replica sets to be written as they are here.
	Update []Update
	// Delete are replica sets beyond the history limit.
	Delete []*appsv1.ReplicaSet
	// Deployment carries the status and annotations that hold when the rest was done.
	Deployment *appsv1.Deployment
	// Rest, if not 0, is how long the status waits for more news to be written with.
	Rest time.Duration
	// Warning is an event about the deployment itself.
	Warning *Event
	// After, if not 0, is when to look again for a missed progress deadline.
	After time.Duration
}

// Update is one changed replica set and what to tell about it; Message may be empty.
type Update struct {
	Set     *appsv1.ReplicaSet
	Message string
}

// Event is an event to record.
type Event struct{ Reason, Message string }

// planner carries the state of one planning.
type planner struct {
	Snapshot
	d       *appsv1.Deployment // a copy to be changed
	current *appsv1.ReplicaSet // of the present template; nil without one; a copy to be changed
	old     []*appsv1.ReplicaSet
	scaled  map[string]string // set name -> message
	plan    Plan
}

// NewPlan answers the next step. Steps are small: a rollout is many plans, each made from what the last one led to.
func NewPlan(s Snapshot) Plan {
	if s.Deployment.Spec.Selector == nil || equality.Semantic.DeepEqual(s.Deployment.Spec.Selector, &metav1.LabelSelector{}) {
		return selectsAll(s.Deployment)
	}
	p := newPlanner(s)
	if s.Deployment.DeletionTimestamp == nil {
		p.notePause()
		p.step()
	}
	p.finish()
	return p.plan
}

func selectsAll(d *appsv1.Deployment) Plan {
	d = d.DeepCopy()
	d.Status.ObservedGeneration = d.Generation
	return Plan{Deployment: d, Warning: &Event{"SelectingAll", "This deployment is selecting all pods. A non-empty selector is required."}}
}

func newPlanner(s Snapshot) *planner {
	p := &planner{Snapshot: s, d: s.Deployment.DeepCopy(), scaled: map[string]string{}}
	current := findCurrent(s.Deployment, s.Sets)
	for _, set := range byCreation(s.Sets) {
		c := set.DeepCopy()
		if set == current {
			p.current = c
		} else {
			p.old = append(p.old, c)
		}
	}
	return p
}

func (p *planner) step() {
	switch {
	case p.d.Spec.Paused:
		p.syncRevision()
		p.rescale()
		p.cleanup()
	case p.resized():
		p.syncRevision()
		p.rescale()
	case p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		p.recreate()
	default:
		p.roll()
	}
}

// roll makes one step of a rolling update: up, or else down, never both.
func (p *planner) roll() {
	if !p.ensureCurrent() || p.growCurrent() || p.shrinkOld() {
		return
	}
	p.cleanupWhenComplete()
}

// recreate removes every old pod before it makes the first new one.
func (p *planner) recreate() {
	p.syncRevision()
	for _, set := range active(p.old) {
		p.scale(set, 0)
	}
	if len(p.scaled) > 0 || p.oldPodsRun() {
		return
	}
	if p.ensureCurrent() {
		p.scale(p.current, *p.d.Spec.Replicas)
		p.cleanupWhenComplete()
	}
}

func (p *planner) oldPodsRun() bool {
	if sum(p.old, statusReplicas) > 0 {
		return true
	}
	for _, set := range p.old {
		if len(p.Pods[string(set.UID)]) > 0 {
			return true
		}
	}
	return false
}

// growCurrent scales the current set towards the desired size as far as surge allows.
func (p *planner) growCurrent() bool {
	want := *p.d.Spec.Replicas
	if specReplicas(p.current) < want {
		want = newSize(p.d, p.all(), p.current)
	}
	return p.scale(p.current, want)
}

// shrinkOld takes pods from old sets: first those that are not available, then as many as leave the least number of
// available pods.
func (p *planner) shrinkOld() bool {
	least := *p.d.Spec.Replicas - maxUnavailable(p.d)
	coming := specReplicas(p.current) - staying(p.current)
	spare := sum(p.all(), specReplicas) - least - coming
	if sum(p.old, specReplicas) == 0 || spare <= 0 {
		return false
	}
	for _, set := range p.old {
		sick := min(spare, specReplicas(set)-staying(set))
		if sick > 0 {
			p.scale(set, specReplicas(set)-sick)
			spare -= sick
		}
	}
	spare = sum(p.all(), staying) - least
	for _, set := range p.old {
		if n := min(spare, specReplicas(set)); n > 0 {
			p.scale(set, specReplicas(set)-n)
			spare -= n
		}
	}
	return len(p.scaled) > 0
}

// scale gives the set a size and keeps its annotations about the deployment's size true.
func (p *planner) scale(set *appsv1.ReplicaSet, size int32) bool {
	before := specReplicas(set)
	if before == size {
		return false
	}
	direction := "down"
	if before < size {
		direction = "up"
	}
	if p.scaled[set.Name] == "" {
		p.scaled[set.Name] = fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, set.Name, before, size)
	} else { // a second step of the same plan
		first := p.original(set.Name)
		p.scaled[set.Name] = fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, set.Name, specReplicas(first), size)
	}
	set.Spec.Replicas = &size
	annotateSize(set, p.d)
	return true
}

func (p *planner) original(name string) *appsv1.ReplicaSet {
	for _, set := range p.Sets {
		if set.Name == name {
			return set
		}
	}
	return nil
}

func (p *planner) all() []*appsv1.ReplicaSet {
	if p.current == nil {
		return p.old
	}
	return append(append([]*appsv1.ReplicaSet{}, p.old...), p.current)
}

func (p *planner) cleanupWhenComplete() {
	if complete(p.d, status(p)) {
		p.cleanup()
	}
}

// cleanup deletes the oldest sets beyond the history limit; sets that have or will have pods stay.
func (p *planner) cleanup() {
	limit := p.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == maxInt32 {
		return
	}
	var alive []*appsv1.ReplicaSet
	for _, set := range byRevision(p.old) {
		if set.DeletionTimestamp == nil {
			alive = append(alive, set)
		}
	}
	for i := 0; i < len(alive)-int(*limit); i++ {
		set := alive[i]
		if set.Status.Replicas == 0 && specReplicas(set) == 0 && set.Generation <= set.Status.ObservedGeneration {
			p.plan.Delete = append(p.plan.Delete, set)
		}
	}
}

// finish collects the changed sets and computes the status.
func (p *planner) finish() {
	for _, set := range p.all() {
		if before := p.original(set.Name); before != nil && !equality.Semantic.DeepEqual(before, set) {
			p.plan.Update = append(p.plan.Update, Update{set, p.scaled[set.Name]})
		}
	}
	p.d.Status = p.progress(status(p))
	p.plan.Deployment = p.d
	p.plan.After = stuckAfter(p.d, p.Now)
}
