package plugins

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"skiff/scheduler/framework"
)

// EventsToRegister waits for nodes, for claims to come, change and free devices, for the names of claims in the pod's
// status, and for classes and devices.
func (p *DynamicResources) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.Node, framework.Add|framework.UpdateNodeLabel|framework.UpdateNodeAllocatable, nil),
		on(framework.ResourceClaim, framework.Add|framework.Update|framework.Delete, p.claimMayHelp),
		on(framework.TargetPod, framework.UpdatePodGeneratedResourceClaim, p.claimsAreThere),
		on(framework.DeviceClass, framework.Add|framework.Update, nil),
		on(framework.ResourceSlice, framework.Add|framework.Update, nil),
	}
}

// claimMayHelp: devices got free, or the status of a claim of the pod changed. A pod whose claims aren't all there isn't
// helped by any change.
func (p *DynamicResources) claimMayHelp(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	before, _ := change.Old.(*resourcev1.ResourceClaim)
	after, _ := change.New.(*resourcev1.ResourceClaim)
	if after == nil {
		return queueIf(before == nil || before.Status.Allocation != nil)
	}
	claims, err := p.claimsOf(pod.Pod)
	if err != nil {
		return framework.QueueSkip
	}
	if before != nil && before.Status.Allocation != nil && after.Status.Allocation == nil {
		return framework.Queue
	}
	for _, claim := range claims {
		if claim.UID == after.UID {
			return queueIf(before == nil || !equality.Semantic.DeepEqual(&before.Status, &after.Status))
		}
	}
	return framework.QueueSkip
}

func (p *DynamicResources) claimsAreThere(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
	var pod *corev1.Pod
	switch object := change.New.(type) {
	case *framework.PodInfo:
		pod = object.Pod
	case *corev1.Pod:
		pod = object
	default:
		return framework.Queue
	}
	_, err := p.claimsOf(pod)
	return queueIf(err == nil)
}
