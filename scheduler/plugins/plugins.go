// Package plugins holds the scheduler's plugins, one file each, and the list of those enabled by default. Semantics,
// messages and weights are those of upstream's plugins of the same name. A plugin imports only framework.
package plugins

import (
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	"skiff/scheduler/framework"
)

// Deps is what plugins need from outside.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  events.EventRecorder
	// Background runs work that outlives the scheduling cycle; the scheduler ends it before Run returns.
	Background Background
	// Nominations are the promises of preemption.
	Nominations Nominations
	// Devices is shared by the plugins of all profiles.
	Devices *Devices
	// Observer is told of preemptions, for metrics; may be nil.
	Observer PreemptionObserver
	// Extenders may have a say in whom preemption evicts.
	Extenders []PreemptionExtender
}

// Default lists the plugins of the default profile in upstream's order, with upstream's weights.
func Default(d Deps) []framework.Enabled {
	if d.Devices == nil {
		d.Devices = NewDevices(d.Informers)
	}
	return []framework.Enabled{
		{Plugin: SchedulingGates{}},
		{Plugin: PrioritySort{}},
		{Plugin: NewNodeName()},
		{Plugin: NewNodeUnschedulable()},
		{Plugin: NewTaintToleration(), Weight: 3},
		{Plugin: newNodeAffinity(), Weight: 2},
		{Plugin: NewNodePorts()},
		{Plugin: NewNodeResourcesFit(d, nil), Weight: 1},
		{Plugin: NewVolumeRestrictions(d)},
		{Plugin: NewNodeVolumeLimits(d)},
		{Plugin: NewVolumeBinding(d)},
		{Plugin: NewVolumeZone(d)},
		{Plugin: NewPodTopologySpread(d, nil), Weight: 2},
		{Plugin: NewInterPodAffinity(d, nil), Weight: 2},
		{Plugin: NewDynamicResources(d, nil), Weight: 2},
		{Plugin: NewDefaultPreemption(d, nil)},
		{Plugin: NewBalancedAllocation(nil), Weight: 1},
		{Plugin: ImageLocality{}, Weight: 1},
		{Plugin: NewDefaultBinder(d)},
		{Plugin: NewNodeDeclaredFeatures()},
	}
}

// rejection makes a status that is given again and again, naming its plugin.
func rejection(plugin string, code framework.Code, reason string) *framework.Status {
	return framework.NewStatus(code, reason).WithPlugin(plugin)
}

// on makes an event to wait for.
func on(resource framework.EventResource, action framework.ActionType, hint framework.HintFunc) framework.ClusterEventWithHint {
	return framework.ClusterEventWithHint{Event: framework.ClusterEvent{Resource: resource, Action: action}, Hint: hint}
}

// queueIf turns a condition into a hint.
func queueIf(helps bool) framework.QueueingHint {
	if helps {
		return framework.Queue
	}
	return framework.QueueSkip
}
