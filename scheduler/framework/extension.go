package framework

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// MaxNodeScore is the highest score a plugin gives a node after normalizing.
const MaxNodeScore int64 = 100

// Plugin is what all plugins are; what else one can do is found by assertion to the interfaces below.
type Plugin interface {
	Name() string
}

// Queued is a pod waiting in the queue, as QueueSort sees it.
type Queued struct {
	Pod      *PodInfo
	Enqueued time.Time
}

// QueueSort orders the active queue.
type QueueSort interface {
	Plugin
	Less(a, b Queued) bool
}

// PreEnqueue decides whether a pod may enter the active queue at all, from what is in memory: the queue is locked meanwhile.
type PreEnqueue interface {
	Plugin
	PreEnqueue(pod *corev1.Pod) *Status
}

// PreFilter computes what Filter needs once per pod. Skip says Filter needs not run.
type PreFilter interface {
	Plugin
	PreFilter(ctx context.Context, c *Cycle) (*PreFilterResult, *Status)
}

// PreFilterExtensions keeps a PreFilter's state right while pods are added to and removed from nodes in a what-if.
type PreFilterExtensions interface {
	AddPod(ctx context.Context, c *Cycle, pod *PodInfo, node *NodeInfo) *Status
	RemovePod(ctx context.Context, c *Cycle, pod *PodInfo, node *NodeInfo) *Status
}

// Filter decides whether the pod fits a node.
type Filter interface {
	Plugin
	Filter(ctx context.Context, c *Cycle, node *NodeInfo) *Status
}

// LocalFilter is a filter that, for some pods, looks at nothing but the node and what PodInfo.Demands tells of the pod. What
// it says of the node then holds for all pods of equal demands as long as the node stays as it is.
type LocalFilter interface {
	Filter
	FilterIsLocal(pod *PodInfo) bool
}

// PostFilter runs when no node fits, to make one fit later.
type PostFilter interface {
	Plugin
	PostFilter(ctx context.Context, c *Cycle, statuses *NodeStatuses) (*PostFilterResult, *Status)
}

// PreScore computes what Score needs once per pod. Skip says Score needs not run.
type PreScore interface {
	Plugin
	PreScore(ctx context.Context, c *Cycle, nodes []*NodeInfo) *Status
}

// Score rates a node that fits.
type Score interface {
	Plugin
	Score(ctx context.Context, c *Cycle, node *NodeInfo) (int64, *Status)
}

// NormalizeScore brings a Score plugin's raw scores into 0..MaxNodeScore.
type NormalizeScore interface {
	NormalizeScore(ctx context.Context, c *Cycle, scores []NodeScore) *Status
}

// Reserve takes what the pod needs on the chosen node before it is bound; Unreserve gives it back and must be idempotent.
type Reserve interface {
	Plugin
	Reserve(ctx context.Context, c *Cycle, node string) *Status
	Unreserve(ctx context.Context, c *Cycle, node string)
}

// Permit allows, denies or delays (Wait, for at most the duration) the binding.
type Permit interface {
	Plugin
	Permit(ctx context.Context, c *Cycle, node string) (*Status, time.Duration)
}

// PreBind does what has to be done before the pod is bound.
type PreBind interface {
	Plugin
	PreBind(ctx context.Context, c *Cycle, node string) *Status
}

// PreBindPreFlight is asked before PreBind whether that has something to do: Skip says no. Without it PreBind always has
// (KEP-5278).
type PreBindPreFlight interface {
	Plugin
	PreBindPreFlight(ctx context.Context, c *Cycle, node string) *Status
}

// Bind writes the decision. Skip hands over to the next Bind plugin.
type Bind interface {
	Plugin
	Bind(ctx context.Context, c *Cycle, node string) *Status
}

// PostBind is told of a bound pod.
type PostBind interface {
	Plugin
	PostBind(ctx context.Context, c *Cycle, node string)
}

// EnqueueExtensions names the events that can make a pod this plugin rejected schedulable.
type EnqueueExtensions interface {
	EventsToRegister() []ClusterEventWithHint
}

// FilterRunner asks all filters "what if", on a cloned Cycle.
type FilterRunner interface {
	FilterWithNominated(ctx context.Context, c *Cycle, node *NodeInfo) *Status
	AddPod(ctx context.Context, c *Cycle, pod *PodInfo, node *NodeInfo) *Status
	RemovePod(ctx context.Context, c *Cycle, pod *PodInfo, node *NodeInfo) *Status
}

// PreFilterResult narrows the nodes to look at; nil or a nil set means all.
type PreFilterResult struct {
	NodeNames sets.Set[string]
}

// PostFilterResult says what becomes of the pod's nominated node: "" clears it.
type PostFilterResult struct {
	NominatedNode string
}

// NodeScore is a node and its score.
type NodeScore struct {
	Node  *NodeInfo
	Score int64
}

// NormalizeByMax scales scores so that the highest becomes MaxNodeScore; reverse turns low into high.
func NormalizeByMax(scores []NodeScore, reverse bool) {
	var highest int64
	for _, s := range scores {
		highest = max(highest, s.Score)
	}
	for i := range scores {
		score := int64(0)
		if highest > 0 {
			score = MaxNodeScore * scores[i].Score / highest
		}
		if reverse {
			score = MaxNodeScore - score
		}
		scores[i].Score = score
	}
}
