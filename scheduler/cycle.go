package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
	"skiff/scheduler/queue"
)

// How few nodes the search may stop at.
const (
	minFeasibleNodes   = 100
	minFeasiblePercent = 5
)

// smallestBatch is how many nodes are filtered side by side at least, even if fewer are still wanted.
const smallestBatch = 128

// errNoNodes is what pods are told in a cluster without nodes.
var errNoNodes = errors.New("no nodes available to schedule pods")

// attempt is one pod on its way through the loop.
type attempt struct {
	queued  *queue.Pod
	profile *profile
	cycle   *framework.Cycle
	start   time.Time
	// held by Permit plugins; prepared: PreBind plugins have done what they had to.
	held, prepared bool
}

// failure says why an attempt failed and what becomes of the nominated node: nil leaves it, "" clears it.
type failure struct {
	status    *framework.Status
	diagnosis framework.Diagnosis
	nominate  *string
}

// scheduleOne makes one attempt at a pod. Whatever comes out, the queue hears of it exactly once.
func (s *Scheduler) scheduleOne(ctx context.Context, p *queue.Pod) {
	pod := p.Info.Pod
	log := klog.LoggerWithValues(klog.FromContext(ctx), "pod", klog.KObj(pod))
	ctx = klog.NewContext(ctx, log)
	if s.skip(p) {
		s.queue.Done(pod.UID)
		return
	}
	a := &attempt{queued: p}
	node, failed := s.try(ctx, a)
	if failed != nil {
		s.fail(ctx, a, failed)
		return
	}
	s.carryOut(ctx, a, node)
}

// try decides on a node for the pod and assumes it is there.
func (s *Scheduler) try(ctx context.Context, a *attempt) (string, *failure) {
	a.start = time.Now()
	a.profile = s.profiles.of(a.queued.Info.Pod)
	a.cycle = framework.NewCycle(a.queued.Info, s.cache.Snapshot())
	a.cycle.Parallelism, a.cycle.Sampled = s.cfg.Parallelism, s.metrics.sample()
	node, failed := s.decide(ctx, a)
	if failed == nil {
		failed = s.assume(ctx, a, node)
	}
	return node, failed
}

// skip: pods on their way out get no node, and pods that have one no second.
func (s *Scheduler) skip(p *queue.Pod) bool {
	pod := p.Info.Pod
	if pod.DeletionTimestamp != nil {
		s.profiles.of(pod).recorder.Eventf(pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling",
			"skip schedule deleting pod: %v/%v", pod.Namespace, pod.Name)
		return true
	}
	_, _, placed := s.cache.Placed(pod.UID)
	return placed
}

// decide answers the best node, or why there is none.
func (s *Scheduler) decide(ctx context.Context, a *attempt) (string, *failure) {
	defer func() { s.metrics.algorithm.Observe(time.Since(a.start).Seconds()) }()
	none := ""
	if len(a.cycle.Snapshot.Nodes()) == 0 {
		diagnosis := framework.NewDiagnosis()
		diagnosis.UnschedulablePlugins.Insert(noNodes)
		status := framework.NewStatus(framework.UnschedulableAndUnresolvable).WithError(errNoNodes)
		return "", &failure{status: status, diagnosis: diagnosis, nominate: &none}
	}
	feasible, diagnosis, err := s.feasible(ctx, a)
	if err != nil {
		return "", &failure{status: framework.AsStatus(err), nominate: &none}
	}
	switch len(feasible) {
	case 0:
		return "", s.unfit(ctx, a, diagnosis)
	case 1:
		return feasible[0].Name(), nil
	}
	scores, status := a.profile.Score(ctx, a.cycle, feasible)
	if !status.IsSuccess() {
		return "", &failure{status: framework.AsStatus(fmt.Errorf("scoring nodes: %w", status.Err())), nominate: &none}
	}
	s.scoreExtended(ctx, a.queued.Info.Pod, scores)
	return best(scores), nil
}

// best picks among the highest scores at random.
func best(scores []framework.NodeScore) string {
	chosen, ties := 0, 1
	for i := 1; i < len(scores); i++ {
		switch {
		case scores[i].Score > scores[chosen].Score:
			chosen, ties = i, 1
		case scores[i].Score == scores[chosen].Score:
			if ties++; rand.IntN(ties) == 0 {
				chosen = i
			}
		}
	}
	return scores[chosen].Node.Name()
}

// unfit runs the PostFilter plugins for a pod no node fits. With none nobody stands by an earlier nomination any more.
func (s *Scheduler) unfit(ctx context.Context, a *attempt, diagnosis framework.Diagnosis) *failure {
	none := ""
	f := &failure{nominate: &none}
	if a.profile.PostFilters() {
		result, status := a.profile.PostFilter(ctx, a.cycle, diagnosis.Nodes)
		diagnosis.PostFilterMsg = status.Message()
		if f.nominate = nil; result != nil {
			f.nominate = &result.NominatedNode
		}
	}
	f.diagnosis = diagnosis
	fit := &framework.FitError{NumAllNodes: len(a.cycle.Snapshot.Nodes()), Diagnosis: diagnosis}
	f.status = framework.NewStatus(framework.Unschedulable).WithError(fit)
	return f
}

// feasible answers nodes the pod fits, and for the others why not.
func (s *Scheduler) feasible(ctx context.Context, a *attempt) ([]*framework.NodeInfo, framework.Diagnosis, error) {
	c, diagnosis := a.cycle, framework.NewDiagnosis()
	result, narrowedBy, status := a.profile.PreFilter(ctx, c)
	diagnosis.UnschedulablePlugins.Insert(narrowedBy...)
	if status.IsRejected() {
		diagnosis.Nodes.SetAbsent(status)
		diagnosis.PreFilterMsg = status.Message()
		diagnosis.AddPlugin(status)
		return nil, diagnosis, nil
	}
	if !status.IsSuccess() {
		return nil, diagnosis, status.Err()
	}
	if node := s.tryNominated(ctx, a); node != nil {
		return []*framework.NodeInfo{node}, diagnosis, nil
	}
	nodes := c.Snapshot.Nodes()
	if result != nil && result.NodeNames != nil {
		nodes = named(c.Snapshot, result.NodeNames)
		diagnosis.Nodes.SetAbsent(framework.NewStatus(framework.UnschedulableAndUnresolvable,
			fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", narrowedBy)))
	}
	found, err := s.filter(ctx, a, nodes, &diagnosis)
	if err != nil || len(found) == 0 {
		return nil, diagnosis, err
	}
	passed, err := s.filterExtended(ctx, c.Pod.Pod, found, diagnosis.Nodes)
	if len(passed) != len(found) {
		diagnosis.UnschedulablePlugins.Insert(extenders)
	}
	return passed, diagnosis, err
}

// tryNominated answers the node that preemption made room on, nil when the pod doesn't fit there (any more).
func (s *Scheduler) tryNominated(ctx context.Context, a *attempt) *framework.NodeInfo {
	node, ok := a.cycle.Snapshot.Node(s.nominatedNode(a))
	if !ok {
		return nil
	}
	began := time.Now()
	status := a.profile.FilterWithNominated(ctx, a.cycle, node)
	a.profile.Filtered(ctx, a.cycle, began, node, []*framework.Status{status})
	if !status.IsSuccess() {
		return nil
	}
	passed, err := s.filterExtended(ctx, a.cycle.Pod.Pod, []*framework.NodeInfo{node}, framework.NewNodeStatuses())
	if err != nil {
		klog.FromContext(ctx).Error(err, "asking extenders about the nominated node", "node", node.Name())
		return nil
	}
	if len(passed) == 0 {
		return nil
	}
	return node
}

// nominatedNode is where preemption made room for the pod.
func (s *Scheduler) nominatedNode(a *attempt) string {
	if node := s.nominator.Node(a.queued.Info.Pod.UID); node != "" {
		return node
	}
	return a.queued.Info.Pod.Status.NominatedNodeName
}

func named(snapshot *framework.Snapshot, names sets.Set[string]) []*framework.NodeInfo {
	nodes := make([]*framework.NodeInfo, 0, len(names))
	for name := range names {
		if node, ok := snapshot.Node(name); ok {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// filter tries the nodes from where the last search stopped until enough fit. If none does, or extenders may turn down
// those that do, the rejections are noted.
func (s *Scheduler) filter(ctx context.Context, a *attempt, nodes []*framework.NodeInfo, diagnosis *framework.Diagnosis) ([]*framework.NodeInfo, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	all := a.cycle.Snapshot.Nodes()
	whole := &nodes[0] == &all[0] && len(nodes) == len(all)
	var known *verdicts
	if whole {
		known = s.remembered.find(a)
	}
	began, first, enough := time.Now(), nodes[s.nextNode%len(nodes)], s.enough(a.profile, len(nodes))
	found := make([]*framework.NodeInfo, 0, min(len(nodes), enough))
	s.statuses, s.doubtful = s.statuses[:0], s.doubtful[:0]
	tried, judged := 0, 0
	defer func() {
		// Also after an error, or else the next search would start before the same node.
		s.nextNode = (s.nextNode + tried) % len(all)
		a.profile.Filtered(ctx, a.cycle, began, first, s.statuses)
	}()
	for tried < len(nodes) && len(found) < enough {
		judged += s.tryNodes(ctx, a, nodes, min(len(nodes)-tried, max(enough-len(found), smallestBatch)), known)
		for tried < len(s.statuses) && len(found) < enough {
			node, status := nodes[(s.nextNode+tried)%len(nodes)], s.statuses[tried]
			tried++
			switch {
			case status.IsSuccess():
				found = append(found, node)
			case status.Code() == framework.Error:
				return nil, fmt.Errorf("filtering node %s: %w", node.Name(), status.Err())
			}
		}
	}
	switch {
	case len(found) == 0 && whole:
		s.byPosition(a, diagnosis)
		if judged > 0 {
			s.remembered.keep(a, known, nodes, s.positioned, s.doubtful)
		}
	case len(found) == 0 || len(s.extenders) > 0:
		for i, status := range s.statuses[:tried] {
			if !status.IsSuccess() {
				diagnosis.Nodes.Set(nodes[(s.nextNode+i)%len(nodes)].Name(), status)
				diagnosis.AddPlugin(status)
			}
		}
	}
	return found, nil
}

// byPosition notes the rejections of all nodes of the snapshot.
func (s *Scheduler) byPosition(a *attempt, diagnosis *framework.Diagnosis) {
	start := len(s.statuses) - s.nextNode%len(s.statuses)
	s.positioned = append(append(s.positioned[:0], s.statuses[start:]...), s.statuses[:start]...)
	var last *framework.Status
	for _, status := range s.positioned {
		if status != last {
			diagnosis.AddPlugin(status)
			last = status
		}
	}
	diagnosis.Nodes.SetAll(a.cycle.Snapshot, s.positioned)
}

// promised reports whether the node was promised to pods, which filters count as if they were there.
func (s *Scheduler) promised(node *framework.NodeInfo) bool {
	return !s.nominator.Empty() && len(s.nominator.NominatedPods(node.Name())) > 0
}

// tryNodes filters a batch of nodes side by side, those that come after the ones with a status, and adds their statuses.
// What is known of a node needs no filter; it answers how many needed one. A promise of a node may come or end at any time,
// so that one counts that is there before its filter or after.
func (s *Scheduler) tryNodes(ctx context.Context, a *attempt, nodes []*framework.NodeInfo, batch int, known *verdicts) int {
	tried := len(s.statuses)
	s.statuses = slices.Grow(s.statuses, batch)[:tried+batch]
	s.open = s.open[:0]
	for i := tried; i < tried+batch; i++ {
		position := (s.nextNode + i) % len(nodes)
		promised := s.promised(nodes[position])
		if promised {
			s.doubtful = append(s.doubtful, position)
		}
		if s.statuses[i] = known.of(position, nodes[position]); s.statuses[i] == nil || promised {
			s.open = append(s.open, i)
		}
	}
	if len(s.open) == 0 {
		return 0
	}
	a.cycle.Parallel(len(s.open), func(from, to int) {
		for _, i := range s.open[from:to] {
			s.statuses[i] = a.profile.FilterWithNominated(ctx, a.cycle, nodes[(s.nextNode+i)%len(nodes)])
		}
	})
	for _, i := range s.open {
		if position := (s.nextNode + i) % len(nodes); s.promised(nodes[position]) {
			s.doubtful = append(s.doubtful, position)
		}
	}
	return len(s.open)
}

// enough is how many fitting nodes end the search: one when nothing would choose among more.
func (s *Scheduler) enough(p *profile, nodes int) int {
	if !p.Scores() && !s.extendersChoose() {
		return 1
	}
	if nodes < minFeasibleNodes {
		return nodes
	}
	percent := p.percentage
	if percent == 0 {
		percent = max(50-nodes/125, minFeasiblePercent)
	}
	return max(nodes*percent/100, minFeasibleNodes)
}
