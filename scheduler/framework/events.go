package framework

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// ActionType is a set of kinds of change.
type ActionType int64

// The kinds of change plugins distinguish.
const (
	Add ActionType = 1 << iota
	Delete
	UpdateNodeAllocatable
	UpdateNodeLabel
	// UpdateNodeTaint is a change of taints or of spec.unschedulable.
	UpdateNodeTaint
	UpdateNodeCondition
	UpdateNodeAnnotation
	UpdateNodeDeclaredFeature
	UpdatePodLabel
	UpdatePodScaleDown
	UpdatePodToleration
	UpdatePodSchedulingGatesEliminated
	// UpdatePodGeneratedResourceClaim: the names of the claims made for the pod were put into its status.
	UpdatePodGeneratedResourceClaim
	// UpdateOther is any other change of an object.
	UpdateOther

	// Update is any update.
	Update = UpdateNodeAllocatable | UpdateNodeLabel | UpdateNodeTaint | UpdateNodeCondition | UpdateNodeAnnotation |
		UpdateNodeDeclaredFeature | UpdatePodLabel | UpdatePodScaleDown | UpdatePodToleration | UpdatePodSchedulingGatesEliminated |
		UpdatePodGeneratedResourceClaim | UpdateOther
	// All is any change.
	All = Add | Delete | Update
)

// EventResource names what changed.
type EventResource string

// The resources plugins wait for.
const (
	AssignedPod           EventResource = "AssignedPod"
	TargetPod             EventResource = "TargetPod"
	Node                  EventResource = "Node"
	PersistentVolume      EventResource = "PersistentVolume"
	PersistentVolumeClaim EventResource = "PersistentVolumeClaim"
	StorageClass          EventResource = "storage.k8s.io/StorageClass"
	CSINode               EventResource = "storage.k8s.io/CSINode"
	VolumeAttachment      EventResource = "storage.k8s.io/VolumeAttachment"
	ResourceClaim         EventResource = "resource.k8s.io/ResourceClaim"
	ResourceSlice         EventResource = "resource.k8s.io/ResourceSlice"
	DeviceClass           EventResource = "resource.k8s.io/DeviceClass"
	// WildCard stands for everything.
	WildCard EventResource = "*"
)

// ClusterEvent is a change in the cluster, or the set of changes a plugin waits for.
type ClusterEvent struct {
	Resource EventResource
	Action   ActionType
	// Label is what metrics call it.
	Label string
}

// Matches reports whether a plugin waiting for e is concerned by event.
func (e ClusterEvent) Matches(event ClusterEvent) bool {
	return event.Resource == WildCard || e.Resource == WildCard || (e.Resource == event.Resource && e.Action&event.Action != 0)
}

// QueueingHint is a plugin's opinion on an event.
type QueueingHint int

// The opinions.
const (
	QueueSkip QueueingHint = iota
	Queue
)

// Change is an event with the objects it is about: Old is nil for additions, New for deletions.
type Change struct {
	Event    ClusterEvent
	Old, New any
}

// HintFunc says whether a change can make a pod the plugin rejected schedulable.
type HintFunc func(pod *PodInfo, change Change) QueueingHint

// ClusterEventWithHint is what a plugin waits for; without a hint every such event queues the pod.
type ClusterEventWithHint struct {
	Event ClusterEvent
	Hint  HintFunc
}

// NodeChange answers which kinds of change lie between two versions of a node; 0 for one that can't matter to scheduling.
func NodeChange(before, after *corev1.Node) ActionType {
	var action ActionType
	if !equalResources(before.Status.Allocatable, after.Status.Allocatable) {
		action |= UpdateNodeAllocatable
	}
	if !equalStrings(before.Labels, after.Labels) {
		action |= UpdateNodeLabel
	}
	if before.Spec.Unschedulable != after.Spec.Unschedulable || !slices.EqualFunc(before.Spec.Taints, after.Spec.Taints, sameTaint) {
		action |= UpdateNodeTaint
	}
	if !slices.EqualFunc(before.Status.Conditions, after.Status.Conditions, sameCondition) {
		action |= UpdateNodeCondition
	}
	if !equalStrings(before.Annotations, after.Annotations) {
		action |= UpdateNodeAnnotation
	}
	if !slices.Equal(before.Status.DeclaredFeatures, after.Status.DeclaredFeatures) {
		action |= UpdateNodeDeclaredFeature
	}
	return action
}

func sameTaint(a, b corev1.Taint) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
}

func sameCondition(a, b corev1.NodeCondition) bool { return a.Type == b.Type && a.Status == b.Status }

// PodChange answers which kinds of change lie between two versions of a pod.
func PodChange(before, after *PodInfo) ActionType {
	var action ActionType
	if !equalStrings(before.Pod.Labels, after.Pod.Labels) {
		action |= UpdatePodLabel
	}
	if scaledDown(before.Requests, after.Requests) {
		action |= UpdatePodScaleDown
	}
	if len(before.Pod.Spec.Tolerations) != len(after.Pod.Spec.Tolerations) {
		action |= UpdatePodToleration
	}
	if len(before.Pod.Spec.SchedulingGates) > 0 && len(after.Pod.Spec.SchedulingGates) == 0 {
		action |= UpdatePodSchedulingGatesEliminated
	}
	if !resourceclaim.PodStatusEqual(before.Pod.Status.ResourceClaimStatuses, after.Pod.Status.ResourceClaimStatuses) ||
		!resourceclaim.PodExtendedStatusEqual(before.Pod.Status.ExtendedResourceClaimStatus, after.Pod.Status.ExtendedResourceClaimStatus) {
		action |= UpdatePodGeneratedResourceClaim
	}
	if action == 0 {
		action = UpdateOther
	}
	return action
}

func scaledDown(before, after Resource) bool {
	if after.MilliCPU < before.MilliCPU || after.Memory < before.Memory || after.EphemeralStorage < before.EphemeralStorage {
		return true
	}
	for name, v := range before.Scalar {
		if after.Scalar[name] < v {
			return true
		}
	}
	return false
}

func equalStrings(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func equalResources(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		if r, ok := b[name]; !ok || q.Cmp(r) != 0 {
			return false
		}
	}
	return true
}
