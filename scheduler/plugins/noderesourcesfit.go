package plugins

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	schedv1 "k8s.io/kube-scheduler/config/v1"

	"skiff/scheduler/framework"
)

// NodeResourcesFit keeps pods off nodes without enough left of what they request, and scores nodes by how much of their
// resources is used. Extended resources that a device class stands behind are left to DynamicResources on nodes without a
// device plugin for them (KEP-5004).
type NodeResourcesFit struct {
	devices                *Devices
	ignored, ignoredGroups sets.Set[string]
	strategy               scoringStrategy
	lacking                *lackings
}

// lackings are the rejections for lack of what every node has, by which of them it lacks: they are given again and again.
type lackings [1 << (len(lackReasons) + 1)]*framework.Status

// lackReasons say what a node has too little of; the bit after theirs says that it has too little at all.
var lackReasons = [...]string{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"}

const unresolvable = 1 << len(lackReasons)

func newLackings(plugin string) *lackings {
	var l lackings
	for lacks := range l {
		var reasons []string
		for i, reason := range lackReasons {
			if lacks&(1<<i) != 0 {
				reasons = append(reasons, reason)
			}
		}
		code := framework.Unschedulable
		if lacks&unresolvable != 0 {
			code = framework.UnschedulableAndUnresolvable
		}
		l[lacks] = framework.NewStatus(code, reasons...).WithPlugin(plugin)
	}
	return &l
}

// NewNodeResourcesFit makes the plugin; nil arguments prefer the node with the most CPU and memory left.
func NewNodeResourcesFit(d Deps, args *schedv1.NodeResourcesFitArgs) NodeResourcesFit {
	if args == nil {
		args = &schedv1.NodeResourcesFitArgs{}
	}
	return NodeResourcesFit{
		devices: d.Devices,
		ignored: sets.New(args.IgnoredResources...), ignoredGroups: sets.New(args.IgnoredResourceGroups...),
		strategy: newScoringStrategy(args.ScoringStrategy), lacking: newLackings("NodeResourcesFit"),
	}
}

// Name implements framework.Plugin.
func (NodeResourcesFit) Name() string { return "NodeResourcesFit" }

// Filter names everything the node lacks. A request above the node's whole capacity can't be helped by preemption.
func (p NodeResourcesFit) Filter(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	lacks, extended := p.insufficient(c.Pod.Requests, node)
	switch {
	case len(extended) > 0:
		status := p.lacking[lacks]
		return framework.NewStatus(status.Code(), append(slices.Clone(status.Reasons()), extended...)...).WithPlugin(p.Name())
	case lacks == 0:
		return nil
	}
	return p.lacking[lacks]
}

// FilterIsLocal implements framework.LocalFilter. Devices may stand in for extended resources, which no node tells.
func (NodeResourcesFit) FilterIsLocal(pod *framework.PodInfo) bool {
	return len(pod.Requests.Scalar) == 0
}

// insufficient answers which of lackReasons hold, and those for extended resources.
func (p NodeResourcesFit) insufficient(want framework.Resource, node *framework.NodeInfo) (lacks int, extended []string) {
	if len(node.Pods)+1 > node.Allocatable.AllowedPods {
		lacks |= 1
	}
	check := func(request, allocatable, used int64, bit int) {
		if request > 0 && request > allocatable-used {
			lacks |= bit
			if request > allocatable {
				lacks |= unresolvable
			}
		}
	}
	check(want.MilliCPU, node.Allocatable.MilliCPU, node.Requested.MilliCPU, 1<<1)
	check(want.Memory, node.Allocatable.Memory, node.Requested.Memory, 1<<2)
	check(want.EphemeralStorage, node.Allocatable.EphemeralStorage, node.Requested.EphemeralStorage, 1<<3)
	for name, request := range want.Scalar {
		if request > node.Allocatable.Scalar[name]-node.Requested.Scalar[name] && !p.ignores(name) && !p.byDevices(name, node) {
			check(request, node.Allocatable.Scalar[name], node.Requested.Scalar[name], 0)
			extended = append(extended, fmt.Sprintf("Insufficient %s", name))
		}
	}
	return lacks, extended
}

// ignores reports an extended resource that something else looks after; a group is what stands before its slash.
func (p NodeResourcesFit) ignores(name corev1.ResourceName) bool {
	if len(p.ignored)+len(p.ignoredGroups) == 0 || !framework.IsExtendedResource(name) {
		return false
	}
	group, _, _ := strings.Cut(string(name), "/")
	return p.ignored.Has(string(name)) || p.ignoredGroups.Has(group)
}

// Score rates the node as it would be used with the pod, where containers without requests count with defaults.
func (p NodeResourcesFit) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	return p.strategy.score(c.Pod, node), nil
}

// byDevices reports whether the node provides the resource by devices of a class, if at all.
func (p NodeResourcesFit) byDevices(name corev1.ResourceName, node *framework.NodeInfo) bool {
	return node.Allocatable.Scalar[name] <= 0 && p.devices.className(name) != ""
}

// EventsToRegister waits for pods to leave or shrink, for nodes that have room, for classes of devices that stand behind a
// resource, and for the pod itself to shrink.
func (p NodeResourcesFit) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.AssignedPod, framework.Delete, podHadNode),
		on(framework.Node, framework.Add|framework.UpdateNodeAllocatable, p.nodeHasMore),
		on(framework.DeviceClass, framework.Add|framework.Update, classStandsBehind),
		on(framework.AssignedPod, framework.UpdatePodScaleDown, podReleased),
		on(framework.TargetPod, framework.UpdatePodScaleDown, nil),
	}
}

func podHadNode(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
	gone, ok := change.Old.(*corev1.Pod)
	return queueIf(!ok || gone.Spec.NodeName != "" || gone.Status.NominatedNodeName != "")
}

// nodeHasMore: the pod would fit the node were it empty, and the node is new or got more of something the pod requests.
func (p NodeResourcesFit) nodeHasMore(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	after, ok := change.New.(*corev1.Node)
	if !ok {
		return framework.Queue
	}
	empty := &framework.NodeInfo{}
	now := empty.WithNode(after)
	if lacks, extended := p.insufficient(pod.Requests, now); lacks != 0 || len(extended) > 0 {
		return framework.QueueSkip
	}
	before, ok := change.Old.(*corev1.Node)
	if !ok {
		return framework.Queue
	}
	was := empty.WithNode(before)
	if now.Allocatable.AllowedPods > was.Allocatable.AllowedPods || anyLess(was.Allocatable, now.Allocatable, pod.Requests) {
		return framework.Queue
	}
	for name, request := range pod.Requests.Scalar {
		if request != 0 && p.byDevices(name, now) {
			return framework.Queue
		}
	}
	return framework.QueueSkip
}

// anyLess reports whether a has less than b of any resource that is wanted.
func anyLess(a, b, wanted framework.Resource) bool {
	if (wanted.MilliCPU > 0 && a.MilliCPU < b.MilliCPU) || (wanted.Memory > 0 && a.Memory < b.Memory) ||
		(wanted.EphemeralStorage > 0 && a.EphemeralStorage < b.EphemeralStorage) {
		return true
	}
	for name, n := range wanted.Scalar {
		if n != 0 && a.Scalar[name] < b.Scalar[name] {
			return true
		}
	}
	return false
}

// podReleased: another pod now requests less of something that the pod requests.
func podReleased(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	before, ok := change.Old.(*corev1.Pod)
	after, now := change.New.(*corev1.Pod)
	if !ok || !now {
		return framework.Queue
	}
	was, _ := framework.NewPodInfo(before)
	is, _ := framework.NewPodInfo(after)
	return queueIf(after.Spec.NodeName != "" && anyLess(is.Requests, was.Requests, pod.Requests))
}

// classStandsBehind: a class of devices now stands behind a resource that the pod requests.
func classStandsBehind(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	after, ok := change.New.(*resourcev1.DeviceClass)
	if !ok {
		return framework.Queue
	}
	before, existed := change.Old.(*resourcev1.DeviceClass)
	if existed && resourceBehind(before) == resourceBehind(after) {
		return framework.QueueSkip
	}
	_, named := pod.Requests.Scalar[resourceBehind(after)]
	_, implied := pod.Requests.Scalar[corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix+after.Name)]
	return queueIf(named || (implied && !existed))
}

// resourceBehind answers the extended resource that the class names, "" when it names none.
func resourceBehind(class *resourcev1.DeviceClass) corev1.ResourceName {
	if class.Spec.ExtendedResourceName == nil {
		return ""
	}
	return corev1.ResourceName(*class.Spec.ExtendedResourceName)
}
