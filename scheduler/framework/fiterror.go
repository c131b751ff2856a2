package framework

import (
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// NodeStatuses says for every node why the pod doesn't fit; nodes not set share one status. Most searches find a node soon
// and set few; one that finds none sets all nodes of its snapshot, by their position.
type NodeStatuses struct {
	byNode   map[string]*Status
	snapshot *Snapshot
	all      []*Status // by position in snapshot.Nodes
	absent   *Status
}

// NewNodeStatuses starts with no node set and the rest unresolvable.
func NewNodeStatuses() *NodeStatuses {
	return &NodeStatuses{byNode: map[string]*Status{}, absent: NewStatus(UnschedulableAndUnresolvable)}
}

// Set keeps a node's status.
func (s *NodeStatuses) Set(node string, status *Status) {
	if at, ok := s.position(node); ok {
		s.all[at] = status
		return
	}
	s.byNode[node] = status
}

// SetAll keeps the statuses of all nodes of a snapshot, by their position. Both are used, and not copied, as long as this
// scheduling cycle lasts.
func (s *NodeStatuses) SetAll(snapshot *Snapshot, statuses []*Status) {
	s.snapshot, s.all = snapshot, statuses
	clear(s.byNode)
}

func (s *NodeStatuses) position(node string) (int, bool) {
	if s.all == nil {
		return 0, false
	}
	return s.snapshot.Position(node)
}

// SetAbsent keeps the status of all nodes not set.
func (s *NodeStatuses) SetAbsent(status *Status) { s.absent = status }

// Get answers a node's status.
func (s *NodeStatuses) Get(node string) *Status {
	if at, ok := s.position(node); ok {
		return s.all[at]
	}
	if status, ok := s.byNode[node]; ok {
		return status
	}
	return s.absent
}

// At answers the status of the node at a position of the snapshot.
func (s *NodeStatuses) At(snapshot *Snapshot, position int) *Status {
	if s.all != nil {
		return s.all[position]
	}
	return s.Get(snapshot.Nodes()[position].Name())
}

// Len counts the nodes set.
func (s *NodeStatuses) Len() int { return len(s.byNode) + len(s.all) }

// each answers the statuses of the nodes set, with how many have each.
func (s *NodeStatuses) each() map[*Status]int {
	counts := map[*Status]int{}
	for _, status := range s.byNode {
		counts[status]++
	}
	for i := 0; i < len(s.all); { // neighbours often share one
		from := i
		for i++; i < len(s.all) && s.all[i] == s.all[from]; i++ {
		}
		counts[s.all[from]] += i - from
	}
	return counts
}

// Diagnosis explains why a pod found no node.
type Diagnosis struct {
	Nodes                *NodeStatuses
	UnschedulablePlugins sets.Set[string]
	PendingPlugins       sets.Set[string]
	// PreFilterMsg is set when a PreFilter turned the pod down before any node was looked at.
	PreFilterMsg  string
	PostFilterMsg string
}

// NewDiagnosis starts an empty diagnosis.
func NewDiagnosis() Diagnosis {
	return Diagnosis{Nodes: NewNodeStatuses(), UnschedulablePlugins: sets.New[string](), PendingPlugins: sets.New[string]()}
}

// AddPlugin notes the plugin of a rejecting status.
func (d *Diagnosis) AddPlugin(status *Status) {
	switch {
	case status.Plugin() == "":
	case status.Code() == Pending:
		d.PendingPlugins.Insert(status.Plugin())
	case status.IsRejected():
		d.UnschedulablePlugins.Insert(status.Plugin())
	}
}

// FitError is the error of a pod that fits no node. Its text is the one users know from FailedScheduling events.
type FitError struct {
	NumAllNodes int
	Diagnosis   Diagnosis
}

// Error writes "0/3 nodes are available: 1 reason, 2 other reason. preemption: ...".
func (f *FitError) Error() string {
	msg := fmt.Sprintf("0/%d nodes are available", f.NumAllNodes)
	if pre := f.Diagnosis.PreFilterMsg; pre != "" {
		msg += fmt.Sprintf(": %s.", pre)
	} else if reasons := f.histogram(); len(reasons) > 0 {
		msg += fmt.Sprintf(": %s.", strings.Join(reasons, ", "))
	}
	if post := f.Diagnosis.PostFilterMsg; post != "" {
		msg += " " + post
	}
	return msg
}

func (f *FitError) histogram() []string {
	counts := map[string]int{}
	for status, nodes := range f.Diagnosis.Nodes.each() {
		for _, reason := range status.Reasons() {
			counts[reason] += nodes
		}
	}
	if rest := f.NumAllNodes - f.Diagnosis.Nodes.Len(); rest > 0 {
		for _, reason := range f.Diagnosis.Nodes.absent.Reasons() {
			counts[reason] += rest
		}
	}
	reasons := make([]string, 0, len(counts))
	for reason, n := range counts {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
	}
	sort.Strings(reasons)
	return reasons
}
