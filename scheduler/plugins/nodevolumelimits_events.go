package plugins

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// EventsToRegister waits for nodes whose drivers take more volumes, for pods and attachments to go, and for claims.
func (p *NodeVolumeLimits) EventsToRegister() []framework.ClusterEventWithHint {
	return []framework.ClusterEventWithHint{
		on(framework.CSINode, framework.Add, nil),
		on(framework.CSINode, framework.Update, limitsGrew),
		on(framework.AssignedPod, framework.Delete, p.podHadVolumes),
		on(framework.PersistentVolumeClaim, framework.Add, ifClaimIsOfPod(anyClaim)),
		on(framework.VolumeAttachment, framework.Delete, p.attachmentMayConcern),
	}
}

// limitsGrew: some driver takes more volumes than before; a driver without a limit counts as taking none.
func limitsGrew(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
	before, ok := change.Old.(*storagev1.CSINode)
	after, now := change.New.(*storagev1.CSINode)
	if !ok || !now {
		return framework.Queue
	}
	limits := volumeLimits(before)
	for driver, limit := range volumeLimits(after) {
		if limit > limits[driver] {
			return framework.Queue
		}
	}
	return framework.QueueSkip
}

func (p *NodeVolumeLimits) podHadVolumes(_ *framework.PodInfo, change framework.Change) framework.QueueingHint {
	gone, ok := change.Old.(*corev1.Pod)
	if !ok {
		return framework.Queue
	}
	if gone.Spec.NodeName == "" && gone.Status.NominatedNodeName == "" {
		return framework.QueueSkip
	}
	for i := range gone.Spec.Volumes {
		if p.counted(&gone.Spec.Volumes[i]) {
			return framework.Queue
		}
	}
	return framework.QueueSkip
}

// attachmentMayConcern: the pod uses a claim, or a volume in the pod that the attachment's driver serves.
func (p *NodeVolumeLimits) attachmentMayConcern(pod *framework.PodInfo, change framework.Change) framework.QueueingHint {
	gone, ok := change.Old.(*storagev1.VolumeAttachment)
	if !ok {
		return framework.Queue
	}
	for i := range pod.Pod.Spec.Volumes {
		volume := &pod.Pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim != nil {
			return framework.Queue
		}
		if !p.translator.IsInlineMigratable(volume) {
			continue
		}
		pv, err := p.translator.TranslateInTreeInlineVolumeToCSI(klog.Background(), volume, pod.Pod.Namespace)
		if err != nil || pv == nil || (pv.Spec.CSI != nil && pv.Spec.CSI.Driver == gone.Spec.Attacher) {
			return framework.Queue
		}
	}
	return framework.QueueSkip
}
