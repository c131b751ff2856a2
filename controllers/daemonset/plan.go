package daemonset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff/controllers/internal/podset"
)

// burst is the most pods made or deleted by one plan.
const burst = 250

// Snapshot is what a plan is made from.
type Snapshot struct {
	Set   *appsv1.DaemonSet
	Nodes []*corev1.Node
	// Pods are the pods that the set controls.
	Pods []*corev1.Pod
	// Hash is the revision of the present template.
	Hash string
	// Held are nodes whose failed pods must stay yet, and for how long: their pods failed before.
	Held map[string]time.Duration
	Now  time.Time
}

// Plan is what to do.
type Plan struct {
	// Create are the nodes that need a pod.
	Create []string
	Delete []*corev1.Pod
	// Failed are nodes whose pod is deleted because it failed.
	Failed []string
	Notes  []Note
	Status appsv1.DaemonSetStatus
	// After, if not 0, is when time alone changes the plan.
	After time.Duration
}

// Note is an event to record.
type Note struct{ Type, Reason, Message string }

// planner carries the state of one planning.
type planner struct {
	Snapshot
	pods    map[string][]*corev1.Pod // by node
	runs    map[string]bool          // nodes that should run a pod
	surge   int
	allowed int // unavailable
	plan    Plan
}

// NewPlan brings every fitting node to one pod, and then moves pods to the present template by the strategy.
func NewPlan(s Snapshot) (Plan, error) {
	p := &planner{Snapshot: s, pods: map[string][]*corev1.Pod{}, runs: map[string]bool{}}
	slices.SortFunc(p.Nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, pod := range slices.SortedFunc(slices.Values(s.Pods), compare) {
		if pod.DeletionTimestamp == nil || !podset.Finished(pod) { // what has ended and goes stands in nobody's way
			p.pods[target(pod)] = append(p.pods[target(pod)], pod)
		}
	}
	stays := map[string]bool{}
	for _, n := range p.Nodes {
		p.runs[n.Name], stays[n.Name] = Fit(s.Set, n)
	}
	if err := p.limits(); err != nil {
		return Plan{}, err
	}
	p.plan.Status = p.status()
	if s.Set.DeletionTimestamp != nil {
		return p.plan, nil
	}
	for _, n := range p.Nodes {
		p.node(n.Name, p.runs[n.Name], stays[n.Name])
	}
	p.orphans()
	if s.Set.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType && len(p.plan.Create)+len(p.plan.Delete) == 0 {
		p.roll()
	}
	p.plan.Create = p.plan.Create[:min(len(p.plan.Create), burst)]
	p.plan.Delete = p.plan.Delete[:min(len(p.plan.Delete), burst)]
	return p.plan, nil
}

// compare puts the pods of a node in the order in which they speak for it: bound ones first, then by age and name.
func compare(a, b *corev1.Pod) int {
	if bound := a.Spec.NodeName != ""; bound != (b.Spec.NodeName != "") {
		if bound {
			return -1
		}
		return 1
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

// limits resolves maxSurge and maxUnavailable, both rounded up, over the nodes that should run a pod.
func (p *planner) limits() error {
	desired := p.desired()
	rolling := p.Set.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || p.Set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		p.allowed = 1
		return nil
	}
	var err error
	if p.surge, err = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxSurge, intstr.FromInt32(0)), desired, true); err != nil {
		return fmt.Errorf("reading maxSurge: %w", err)
	}
	if p.allowed, err = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxUnavailable, intstr.FromInt32(1)), desired, true); err != nil {
		return fmt.Errorf("reading maxUnavailable: %w", err)
	}
	if p.surge == 0 && p.allowed == 0 && desired > 0 { // a share of nothing must not stop the rollout
		p.allowed = 1
	}
	return nil
}

// desired is how many nodes should run a pod.
func (p *planner) desired() int {
	n := 0
	for _, run := range p.runs {
		if run {
			n++
		}
	}
	return n
}

// node decides for one node which pods go and whether one must come.
func (p *planner) node(name string, run, stay bool) {
	pods := p.pods[name]
	if !stay {
		for _, pod := range pods {
			p.delete(pod)
		}
		return
	}
	var live []*corev1.Pod
	going := false
	for _, pod := range pods {
		switch {
		case pod.DeletionTimestamp != nil:
			going = true
		case pod.Status.Phase == corev1.PodFailed && p.Held[name] > 0:
			going = true
			if p.plan.After == 0 || p.Held[name] < p.plan.After {
				p.plan.After = p.Held[name]
			}
		case pod.Status.Phase == corev1.PodFailed:
			p.plan.Failed = append(p.plan.Failed, name)
			p.note(corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, name)
			p.delete(pod)
			going = true
		case pod.Status.Phase == corev1.PodSucceeded:
			p.note(corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, name)
			p.delete(pod)
			going = true
		default:
			live = append(live, pod)
		}
	}
	if len(live) == 0 && run && (!going || p.surge > 0) {
		p.plan.Create = append(p.plan.Create, name)
	}
	if len(live) > 1 {
		p.thin(live)
	}
}

// thin leaves the first pod. During a surge an old pod and its unfinished successor are one: the old one goes when
// the new one is available.
func (p *planner) thin(live []*corev1.Pod) {
	if p.surge == 0 {
		for _, pod := range live[1:] {
			p.delete(pod)
		}
		return
	}
	var oldest, newest *corev1.Pod // the first of each kind
	for _, pod := range live {
		switch current := p.current(pod); {
		case current && newest == nil:
			newest = pod
		case !current && oldest == nil:
			oldest = pod
		default:
			p.delete(pod)
		}
	}
	if oldest != nil && newest != nil && (p.available(newest) || !podset.Ready(oldest)) {
		p.delete(oldest)
	}
}

// orphans deletes the pods of nodes that do not exist.
func (p *planner) orphans() {
	for _, pod := range p.Pods {
		if _, known := p.runs[target(pod)]; !known && target(pod) != "" {
			p.delete(pod)
		}
	}
}

// roll replaces pods of old templates: first those that are not available, which costs nothing, then as many as may
// be missing. Nodes that should run no pod lose theirs in this way.
func (p *planner) roll() {
	if p.surge > 0 {
		p.surgeOver()
		return
	}
	unavailable := 0
	var free, costly []*corev1.Pod
	for _, n := range p.Nodes {
		if len(p.pods[n.Name]) == 0 {
			continue
		}
		switch old, current := p.pair(n.Name); {
		case (old == nil) == (current == nil), old == nil && !p.available(current):
			unavailable++
		case old == nil:
		case !p.available(old):
			unavailable++
			free = append(free, old)
		default:
			costly = append(costly, old)
		}
	}
	p.plan.Delete = slices.Concat(free, costly[:max(0, min(len(costly), p.allowed-unavailable))])
}

// surgeOver makes new pods beside the old ones: at once where the old one isn't available, elsewhere as many as surge
// allows. Nodes that should run no pod keep an available one as long as it is needed.
func (p *planner) surgeOver() {
	surging, available := 0, 0
	var free, costly []string
	var leaving []*corev1.Pod
	for _, n := range p.Nodes {
		old, current := p.pair(n.Name)
		if first := cmp.Or(old, current); first != nil && p.available(first) {
			available++
		}
		switch run := p.runs[n.Name]; {
		case old == nil:
		case current != nil && !p.available(current):
			surging++
		case current != nil, !p.available(old) && !run:
			p.delete(old)
		case !p.available(old):
			free = append(free, n.Name)
		case !run:
			leaving = append(leaving, old)
		default:
			costly = append(costly, n.Name)
		}
	}
	p.plan.Create = slices.Concat(free, costly[:max(0, min(len(costly), p.surge-surging))])
	for _, pod := range leaving[:max(0, min(len(leaving), available-p.desired()))] {
		p.delete(pod)
	}
}

// pair answers the node's pod of an old template and the one of the present.
func (p *planner) pair(node string) (old, current *corev1.Pod) {
	for _, pod := range p.pods[node] {
		switch {
		case pod.DeletionTimestamp != nil:
		case p.current(pod):
			current = pod
		default:
			old = pod
		}
	}
	return old, current
}

func (p *planner) current(pod *corev1.Pod) bool {
	generation, ok := p.Set.Annotations[generationAnnotation]
	if ok && pod.Labels[generationLabel] == generation {
		return true
	}
	return p.Hash != "" && pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == p.Hash
}

func (p *planner) available(pod *corev1.Pod) bool {
	return podset.Available(pod, p.Set.Spec.MinReadySeconds, p.Now)
}

func (p *planner) delete(pod *corev1.Pod) {
	if pod.DeletionTimestamp == nil && !slices.Contains(p.plan.Delete, pod) {
		p.plan.Delete = append(p.plan.Delete, pod)
	}
}

func (p *planner) note(kind, reason, format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, Note{kind, reason, fmt.Sprintf(format, args...)})
}

// status counts nodes, not pods: of several pods on a node the first speaks for it.
func (p *planner) status() appsv1.DaemonSetStatus {
	s := appsv1.DaemonSetStatus{
		ObservedGeneration: p.Set.Generation, CollisionCount: p.Set.Status.CollisionCount, Conditions: p.Set.Status.Conditions,
	}
	for _, n := range p.Nodes {
		pods := p.pods[n.Name]
		if !p.runs[n.Name] {
			if len(pods) > 0 {
				s.NumberMisscheduled++
			}
			continue
		}
		s.DesiredNumberScheduled++
		if len(pods) == 0 {
			continue
		}
		s.CurrentNumberScheduled++
		first := pods[0]
		if podset.Ready(first) {
			s.NumberReady++
			if p.available(first) {
				s.NumberAvailable++
			}
		}
		if p.current(first) {
			s.UpdatedNumberScheduled++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s
}
