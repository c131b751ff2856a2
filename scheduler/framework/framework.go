package framework

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Enabled is a plugin of a profile with the weight of its score.
type Enabled struct {
	Plugin Plugin
	Weight int64
}

// Nominator knows the pods that were promised a node by preemption and are not placed yet.
type Nominator interface {
	NominatedPods(node string) []*PodInfo
}

// Framework runs the plugins of one profile in their order. The scheduling loop alone calls PreFilter, Filter..., Score
// and Reserve; the binding calls come from many goroutines.
type Framework struct {
	name      string
	nominator Nominator
	observer  Observer
	order     QueueSort
	enqueue   []PreEnqueue
	pre       []preFilter
	filters   []Filter
	// localFilters are the filters that may be local, nil for others.
	localFilters []LocalFilter
	// filterCounts count the calls of filters.
	filterCounts []func(calls int)
	postFilt     []PostFilter
	preScore     []preScore
	scorers      []scorer
	reserve      []Reserve
	permit       []Permit
	preBind      []PreBind
	bind         []Bind
	postBind     []PostBind
	// binders names the plugins that have a part in what follows the decision.
	binders sets.Set[string]
	events  map[string][]ClusterEventWithHint
	waiting waitingPods
	scratch []NodeScore
}

// preFilter remembers which filter its Skip switches off.
type preFilter struct {
	PreFilter
	extensions PreFilterExtensions
	filter     int
	count      func(calls int)
}

type preScore struct {
	PreScore
	score int
	count func(calls int)
}

type scorer struct {
	Score
	normalize NormalizeScore
	weight    int64
	count     func(calls int)
}

// New makes a framework of plugins that work at all extension points they have, in order.
func New(plugins []Enabled, nominator Nominator) (*Framework, error) {
	return NewProfile(Profile{Plugins: Everywhere(plugins)}, nominator)
}

// Name answers the scheduler name of the pods the framework serves.
func (f *Framework) Name() string { return f.name }

// Scores reports whether any plugin tells nodes that fit apart.
func (f *Framework) Scores() bool { return len(f.scorers) > 0 }

// PostFilters reports whether any plugin helps pods that fit no node.
func (f *Framework) PostFilters() bool { return len(f.postFilt) > 0 }

// Less orders the active queue.
func (f *Framework) Less(a, b Queued) bool { return f.order.Less(a, b) }

// Events answers what each plugin waits for, by plugin name.
func (f *Framework) Events() map[string][]ClusterEventWithHint { return f.events }

// PreEnqueue asks all PreEnqueue plugins; the first objection wins.
func (f *Framework) PreEnqueue(pod *PodInfo) *Status {
	for _, p := range f.enqueue {
		if s := p.PreEnqueue(pod.Pod); !s.IsSuccess() {
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// PreFilter runs all PreFilter plugins. The names are of the plugins that narrowed the nodes.
func (f *Framework) PreFilter(ctx context.Context, c *Cycle) (result *PreFilterResult, narrowed []string, status *Status) {
	defer f.ran(ranPreFilter, time.Now(), &status)
	c.Filters = f
	for i, p := range f.pre {
		call := f.call(c, p.PreFilter, ranPreFilter)
		r, s := p.PreFilter.PreFilter(ctx, c)
		call.done(s)
		p.count(1)
		switch {
		case s.IsSkip():
			c.noExtend |= 1 << i
			c.skipFilter(p.filter)
			continue
		case !s.IsSuccess():
			return nil, narrowed, s.WithPlugin(p.Name())
		case r == nil || r.NodeNames == nil:
			continue
		}
		narrowed = append(narrowed, p.Name())
		slices.Sort(narrowed)
		if result == nil {
			result = &PreFilterResult{NodeNames: r.NodeNames.Clone()}
		} else {
			result.NodeNames = result.NodeNames.Intersection(r.NodeNames)
		}
		if result.NodeNames.Len() == 0 {
			return nil, narrowed, noCommonNode(narrowed)
		}
	}
	return result, narrowed, nil
}

func noCommonNode(plugins []string) *Status {
	msg := fmt.Sprintf("node(s) didn't satisfy plugin(s) %v simultaneously", plugins)
	if len(plugins) == 1 {
		msg = fmt.Sprintf("node(s) didn't satisfy plugin %v", plugins[0])
	}
	return NewStatus(UnschedulableAndUnresolvable, msg).WithPlugin(plugins[len(plugins)-1])
}

// Filter asks the filters about a node as it stands; the first objection wins.
func (f *Framework) Filter(ctx context.Context, c *Cycle, node *NodeInfo) *Status {
	for i, p := range f.filters {
		if c.noFilter&(1<<i) != 0 {
			continue
		}
		if s := p.Filter(ctx, c, node); !s.IsSuccess() {
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// FiltersLocally reports whether all filters that look at nodes in this cycle are local.
func (f *Framework) FiltersLocally(c *Cycle) bool {
	for i, p := range f.localFilters {
		if c.noFilter&(1<<i) == 0 && (p == nil || !p.FilterIsLocal(c.Pod)) {
			return false
		}
	}
	return true
}

// FilterWithNominated asks the filters twice when pods of at least the same priority were promised the node: once as if
// they were there already (so they are not pushed out), once without (so the pod doesn't lean on pods that may never come).
func (f *Framework) FilterWithNominated(ctx context.Context, c *Cycle, node *NodeInfo) *Status {
	what, withNominated := c, node
	for _, pod := range f.nominator.NominatedPods(node.Name()) {
		if pod.Priority < c.Pod.Priority || pod.Pod.UID == c.Pod.Pod.UID {
			continue
		}
		if what == c {
			what = c.Clone()
		}
		withNominated = withNominated.WithPod(pod)
		if s := f.AddPod(ctx, what, pod, withNominated); !s.IsSuccess() {
			return s
		}
	}
	if what != c {
		if s := f.Filter(ctx, what, withNominated); !s.IsSuccess() {
			return s
		}
	}
	return f.Filter(ctx, c, node)
}

// AddPod tells the PreFilter states that pod now is on node (which already holds it).
func (f *Framework) AddPod(ctx context.Context, c *Cycle, pod *PodInfo, node *NodeInfo) *Status {
	return f.extend(c, func(x PreFilterExtensions) *Status { return x.AddPod(ctx, c, pod, node) })
}

// RemovePod tells the PreFilter states that pod left node (which no longer holds it).
func (f *Framework) RemovePod(ctx context.Context, c *Cycle, pod *PodInfo, node *NodeInfo) *Status {
	return f.extend(c, func(x PreFilterExtensions) *Status { return x.RemovePod(ctx, c, pod, node) })
}

func (f *Framework) extend(c *Cycle, call func(PreFilterExtensions) *Status) *Status {
	for i, p := range f.pre {
		if p.extensions == nil || c.noExtend&(1<<i) != 0 {
			continue
		}
		if s := call(p.extensions); !s.IsSuccess() {
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// PostFilter runs the PostFilter plugins until one makes the pod schedulable; messages of the others are joined.
func (f *Framework) PostFilter(ctx context.Context, c *Cycle, statuses *NodeStatuses) (_ *PostFilterResult, status *Status) {
	defer f.ran(ranPostFilter, time.Now(), &status)
	var last *PostFilterResult
	var reasons []string
	for _, p := range f.postFilt {
		call := f.call(c, p, ranPostFilter)
		result, s := p.PostFilter(ctx, c, statuses)
		call.done(s)
		if s.IsSuccess() || s.Code() == Error || s.Code() == UnschedulableAndUnresolvable {
			return result, s.WithPlugin(p.Name())
		}
		if result != nil {
			last = result
		}
		reasons = append(reasons, s.Reasons()...)
	}
	return last, NewStatus(Unschedulable, reasons...)
}

func (c *Cycle) skipFilter(i int) {
	if i >= 0 {
		c.noFilter |= 1 << i
	}
}
