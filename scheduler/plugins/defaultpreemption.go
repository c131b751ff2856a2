package plugins

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"skiff/scheduler/framework"
)

// How many candidate nodes are tried in full by default: a tenth, but at least a hundred.
const (
	defaultCandidatePercent = 10
	defaultCandidates       = 100
)

// pruneAbove is how many preemptors are remembered before those whose victims are gone are forgotten.
const pruneAbove = 100

// Background runs work under the scheduler's context and joins it at the end.
type Background interface {
	Go(work func(ctx context.Context))
	// Activate queues a pod at once.
	Activate(uid types.UID)
}

// Nominations are the nodes promised to pods by preemption.
type Nominations interface {
	NominatedPods(node string) []*framework.PodInfo
	Nominate(pod *framework.PodInfo, node string)
	Node(uid types.UID) string
}

// PreemptionObserver is told of every attempt to preempt, whether or not it finds victims, of every preemption, and how
// its evictions ended.
type PreemptionObserver interface {
	Attempted()
	Preempted(victims int)
	Evicted(err error)
}

// DefaultPreemption makes room for a pod by evicting pods of lower priority, the fewest and least important ones, in
// breach of as few disruption budgets as possible.
type DefaultPreemption struct {
	client      kubernetes.Interface
	pods        corelisters.PodLister
	budgets     policylisters.PodDisruptionBudgetLister
	recorder    events.EventRecorder
	background  Background
	nominations Nominations
	observer    PreemptionObserver
	extenders   []PreemptionExtender
	noVictims   *framework.Status
	// candidatePercent and candidatesAtLeast are how many nodes that could be helped are tried in full.
	candidatePercent, candidatesAtLeast int

	mu sync.Mutex
	// victims are, by preemptor, the pods told to go, until they are gone.
	victims map[types.UID][]*corev1.Pod
}

// NewDefaultPreemption makes the plugin; nil arguments mean upstream's defaults.
func NewDefaultPreemption(d Deps, args *schedv1.DefaultPreemptionArgs) *DefaultPreemption {
	if args == nil {
		args = &schedv1.DefaultPreemptionArgs{}
	}
	return &DefaultPreemption{
		candidatePercent:  int(ptr.Deref(args.MinCandidateNodesPercentage, defaultCandidatePercent)),
		candidatesAtLeast: int(ptr.Deref(args.MinCandidateNodesAbsolute, defaultCandidates)),

		client:      d.Client,
		pods:        d.Informers.Core().V1().Pods().Lister(),
		budgets:     d.Informers.Policy().V1().PodDisruptionBudgets().Lister(),
		recorder:    d.Recorder,
		background:  d.Background,
		nominations: d.Nominations,
		observer:    d.Observer,
		extenders:   d.Extenders,
		noVictims: rejection("DefaultPreemption", framework.UnschedulableAndUnresolvable,
			"No preemption victims found for incoming pod"),
		victims: map[types.UID][]*corev1.Pod{},
	}
}

// Name implements framework.Plugin.
func (*DefaultPreemption) Name() string { return "DefaultPreemption" }

// PostFilter nominates a node and evicts its victims, or says why that won't help.
func (p *DefaultPreemption) PostFilter(ctx context.Context, c *framework.Cycle, statuses *framework.NodeStatuses) (*framework.PostFilterResult, *framework.Status) {
	if p.observer != nil {
		p.observer.Attempted()
	}
	if reason := p.ineligible(c, statuses); reason != "" {
		return nil, framework.NewStatus(framework.Unschedulable, "preemption: "+reason)
	}
	budgets, err := p.budgets.List(labels.Everything())
	if err != nil {
		return nil, framework.AsStatus(err)
	}
	candidates, failed, err := p.candidates(ctx, c, statuses, budgets)
	if err != nil && len(candidates) == 0 {
		return nil, framework.AsStatus(fmt.Errorf("preemption: %w", err))
	}
	if len(candidates) == 0 {
		failed.SetAbsent(framework.NewStatus(framework.UnschedulableAndUnresolvable, "Preemption is not helpful for scheduling"))
		explain := framework.FitError{NumAllNodes: len(c.Snapshot.Nodes()), Diagnosis: framework.Diagnosis{Nodes: failed}}
		return &framework.PostFilterResult{}, framework.NewStatus(framework.Unschedulable, "preemption: "+explain.Error())
	}
	if candidates, err = p.extended(ctx, c, candidates); err != nil {
		return nil, framework.AsStatus(fmt.Errorf("preemption: %w", err))
	}
	if len(candidates) == 0 {
		return nil, framework.NewStatus(framework.Unschedulable, "preemption: no candidate node for preemption")
	}
	best := pick(candidates)
	p.evict(c.Pod, best)
	return &framework.PostFilterResult{NominatedNode: best.node}, nil
}

// ineligible answers why the pod may not preempt now, "" if it may. One that has evicted pods waits until they are gone.
func (p *DefaultPreemption) ineligible(c *framework.Cycle, statuses *framework.NodeStatuses) string {
	pod := c.Pod.Pod
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	nominated := p.nominations.Node(pod.UID)
	if nominated == "" {
		nominated = pod.Status.NominatedNodeName
	}
	if nominated == "" || statuses.Get(nominated).Code() == framework.UnschedulableAndUnresolvable {
		return ""
	}
	node, ok := c.Snapshot.Node(nominated)
	if !ok {
		return ""
	}
	for _, other := range node.Pods {
		if other.Priority < c.Pod.Priority && other.Pod.DeletionTimestamp != nil && preempted(other.Pod) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	if p.awaitsVictims(pod.UID) {
		return "not eligible due to a terminating pod on the nominated node."
	}
	return ""
}

// preempted reports whether the scheduler told the pod to go.
func preempted(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c.Reason == corev1.PodReasonPreemptionByScheduler
		}
	}
	return false
}

// awaitsVictims reports whether pods evicted for this one are still known. It bridges the time until the cache shows them
// terminating.
func (p *DefaultPreemption) awaitsVictims(preemptor types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, victim := range p.victims[preemptor] {
		if now, err := p.pods.Pods(victim.Namespace).Get(victim.Name); err == nil && now.UID == victim.UID {
			return true
		}
	}
	delete(p.victims, preemptor)
	return false
}

// Reserve forgets the victims of a pod that found its place.
func (p *DefaultPreemption) Reserve(_ context.Context, c *framework.Cycle, _ string) *framework.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.victims, c.Pod.Pod.UID)
	return nil
}

// Unreserve has nothing to give back.
func (*DefaultPreemption) Unreserve(context.Context, *framework.Cycle, string) {}

// candidate is a node the pod fits once the victims are gone.
type candidate struct {
	node       string
	victims    []*framework.PodInfo
	violations int
}

// candidates tries the nodes that evicting may help, from a random one on, until there are enough and one of them breaches
// no budget. The error joins those of nodes that could not be tried.
func (p *DefaultPreemption) candidates(ctx context.Context, c *framework.Cycle, statuses *framework.NodeStatuses, budgets []*policyv1.PodDisruptionBudget) ([]candidate, *framework.NodeStatuses, error) {
	var nodes []*framework.NodeInfo
	for i, node := range c.Snapshot.Nodes() {
		if statuses.At(c.Snapshot, i).Code() == framework.Unschedulable {
			nodes = append(nodes, node)
		}
	}
	failed := framework.NewNodeStatuses()
	if len(nodes) == 0 {
		return nil, failed, nil
	}
	enough := max(len(nodes)*p.candidatePercent/100, p.candidatesAtLeast)
	var found []candidate
	var errs []error
	harmless := false
	offset := rand.IntN(len(nodes))
	for i := range nodes {
		node := nodes[(offset+i)%len(nodes)]
		victims, violations, s := p.selectVictims(ctx, c, node, budgets)
		if s.IsSuccess() && len(victims) == 0 {
			// The filters take the node as it is: an extender turned it down, which evicting nobody doesn't change.
			s = framework.AsStatus(fmt.Errorf("expected at least one victim pod on node %q", node.Name()))
		}
		if !s.IsSuccess() {
			failed.Set(node.Name(), s)
			if s.Code() == framework.Error {
				errs = append(errs, s.Err())
			}
			continue
		}
		found = append(found, candidate{node: node.Name(), victims: victims, violations: violations})
		if harmless = harmless || violations == 0; harmless && len(found) >= enough {
			break
		}
	}
	return found, failed, utilerrors.NewAggregate(errs)
}

// selectVictims takes all pods of lower priority off the node, then puts back the most important first, those protected
// by a budget before the others, as long as the pod still fits.
func (p *DefaultPreemption) selectVictims(ctx context.Context, c *framework.Cycle, node *framework.NodeInfo, budgets []*policyv1.PodDisruptionBudget) ([]*framework.PodInfo, int, *framework.Status) {
	var lower []*framework.PodInfo
	for _, other := range node.Pods {
		if other.Priority < c.Pod.Priority {
			lower = append(lower, other)
		}
	}
	if len(lower) == 0 {
		return nil, 0, p.noVictims
	}
	c = c.Clone()
	for _, other := range lower {
		node = node.WithoutPod(other.Pod.UID)
		if s := c.Filters.RemovePod(ctx, c, other, node); !s.IsSuccess() {
			return nil, 0, s
		}
	}
	if s := c.Filters.FilterWithNominated(ctx, c, node); !s.IsSuccess() {
		return nil, 0, s
	}
	violating, others := splitByBudget(byImportance(lower), budgets)
	var victims []*framework.PodInfo
	violations := 0
	for i, other := range append(violating, others...) {
		with := node.WithPod(other)
		if s := c.Filters.AddPod(ctx, c, other, with); !s.IsSuccess() {
			return nil, 0, s
		}
		if c.Filters.FilterWithNominated(ctx, c, with).IsSuccess() {
			node = with
			continue
		}
		if s := c.Filters.RemovePod(ctx, c, other, node); !s.IsSuccess() {
			return nil, 0, s
		}
		victims = append(victims, other)
		if i < len(violating) {
			violations++
		}
	}
	return byImportance(victims), violations, nil
}

// evict deletes the victims in the background. Whatever fails, the preemptor is tried again.
func (p *DefaultPreemption) evict(preemptor *framework.PodInfo, best candidate) {
	victims := make([]*corev1.Pod, 0, len(best.victims))
	for _, v := range best.victims {
		victims = append(victims, v.Pod)
	}
	p.mu.Lock()
	p.prune()
	p.victims[preemptor.Pod.UID] = victims
	p.mu.Unlock()
	if p.observer != nil {
		p.observer.Preempted(len(victims))
	}
	demoted := p.demote(preemptor, best.node)
	p.background.Go(func(ctx context.Context) {
		log := klog.FromContext(ctx)
		err := p.evictAll(ctx, preemptor.Pod, victims, best.node)
		if p.observer != nil {
			p.observer.Evicted(err)
		}
		if err != nil {
			log.Error(err, "evicting for a pod of higher priority", "pod", klog.KObj(preemptor.Pod), "node", best.node)
			p.mu.Lock()
			delete(p.victims, preemptor.Pod.UID)
			p.mu.Unlock()
			p.background.Activate(preemptor.Pod.UID)
		}
		for _, pod := range demoted {
			_, err := framework.PatchStatus(ctx, p.client, pod.Pod, func(s *corev1.PodStatus) { s.NominatedNodeName = "" })
			if err != nil {
				log.Error(err, "clearing the nominated node", "pod", klog.KObj(pod.Pod))
			}
			p.background.Activate(pod.Pod.UID)
		}
	})
}

// prune forgets preemptors that are gone.
func (p *DefaultPreemption) prune() {
	if len(p.victims) < pruneAbove {
		return
	}
	for uid, victims := range p.victims {
		gone := true
		for _, v := range victims {
			if _, err := p.pods.Pods(v.Namespace).Get(v.Name); err == nil {
				gone = false
			}
		}
		if gone {
			delete(p.victims, uid)
		}
	}
}

// demote takes back the node from pods of lower priority it was promised to.
func (p *DefaultPreemption) demote(preemptor *framework.PodInfo, node string) []*framework.PodInfo {
	var demoted []*framework.PodInfo
	for _, pod := range p.nominations.NominatedPods(node) {
		if pod.Priority < preemptor.Priority {
			demoted = append(demoted, pod)
		}
	}
	for _, pod := range demoted {
		p.nominations.Nominate(pod, "")
	}
	return demoted
}
