package scheduler

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/informers"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// watch registers the handlers with the informers and remembers what Run has to wait for.
func (s *Scheduler) watch(f informers.SharedInformerFactory) error {
	core, storage := f.Core().V1(), f.Storage().V1()
	for _, w := range []struct {
		informer toolscache.SharedIndexInformer
		handler  toolscache.ResourceEventHandler
	}{
		{core.Nodes().Informer(), framework.Handler(timed(s, func(*corev1.Node) string { return "Node" }, s.nodeChanged))},
		{core.Pods().Informer(), framework.Handler(timed(s, podKind, s.podChanged))},
		{core.PersistentVolumes().Informer(), framework.Handler(moves[corev1.PersistentVolume](s, framework.PersistentVolume, "PersistentVolume"))},
		{core.PersistentVolumeClaims().Informer(), framework.Handler(moves[corev1.PersistentVolumeClaim](s, framework.PersistentVolumeClaim, "PersistentVolumeClaim"))},
		{storage.StorageClasses().Informer(), framework.Handler(moves[storagev1.StorageClass](s, framework.StorageClass, "StorageClass"))},
		{storage.CSINodes().Informer(), framework.Handler(moves[storagev1.CSINode](s, framework.CSINode, "CSINode"))},
		{storage.VolumeAttachments().Informer(), framework.Handler(moves[storagev1.VolumeAttachment](s, framework.VolumeAttachment, "VolumeAttachment"))},
	} {
		registration, err := w.informer.AddEventHandler(w.handler)
		if err != nil {
			return fmt.Errorf("watching for the scheduler: %w", err)
		}
		s.synced = append(s.synced, registration.HasSyncedChecker())
	}
	synced, err := s.devices.Watch(s.queue.Move)
	if err != nil {
		return err
	}
	s.synced = append(s.synced, synced...)
	for _, informer := range []toolscache.SharedIndexInformer{
		core.Namespaces().Informer(), core.Services().Informer(), core.ReplicationControllers().Informer(),
		f.Apps().V1().ReplicaSets().Informer(), f.Apps().V1().StatefulSets().Informer(),
		f.Policy().V1().PodDisruptionBudgets().Informer(), storage.CSIDrivers().Informer(),
	} {
		s.synced = append(s.synced, informer.HasSyncedChecker())
	}
	return nil
}

// timed has the handling of a kind of objects timed.
func timed[T any](s *Scheduler, kind func(*T) string, changed func(before, after *T)) func(before, after *T) {
	return func(before, after *T) {
		began := time.Now()
		changed(before, after)
		switch {
		case after == nil && before != nil:
			s.metrics.handled(kind(before)+"Delete", time.Since(began))
		case after != nil && before == nil:
			s.metrics.handled(kind(after)+"Add", time.Since(began))
		case after != nil:
			s.metrics.handled(kind(after)+"Update", time.Since(began))
		}
	}
}

func podKind(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return "AssignedPod"
	}
	return "UnscheduledPod"
}

// moves tells the queue of changes of a resource.
func moves[T any](s *Scheduler, resource framework.EventResource, name string) func(before, after *T) {
	return timed(s, func(*T) string { return name }, func(before, after *T) {
		s.queue.Move(framework.ChangeOf(resource, name, before, after))
	})
}

func (s *Scheduler) nodeChanged(before, after *corev1.Node) {
	switch {
	case after == nil && before == nil:
	case after == nil:
		s.cache.RemoveNode(before.Name)
		s.queue.Move(framework.Change{Event: nodeEvent(framework.Delete, "NodeDelete"), Old: before})
	case before == nil:
		s.cache.SetNode(after)
		s.queue.Move(framework.Change{Event: nodeEvent(framework.Add, "NodeAdd"), New: after})
	default:
		s.cache.SetNode(after)
		if action := framework.NodeChange(before, after); action != 0 {
			s.queue.Move(framework.Change{Event: nodeEvent(action, "NodeUpdate"), Old: before, New: after})
		}
	}
}

func nodeEvent(action framework.ActionType, label string) framework.ClusterEvent {
	return framework.ClusterEvent{Resource: framework.Node, Action: action, Label: label}
}

// assigned: the pod is on a node and uses its resources.
func assigned(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" && !ended(pod) }

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// waiting: the pod wants a node from this scheduler.
func (s *Scheduler) waiting(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && !ended(pod) && s.profiles.of(pod) != nil
}

// podChanged brings cache and queue in line with what the API says of the pod now.
func (s *Scheduler) podChanged(before, after *corev1.Pod) {
	switch {
	case before != nil && after != nil && before.UID != after.UID:
		s.podChanged(before, nil)
		s.podChanged(nil, after)
	case after != nil && assigned(after):
		s.podAssigned(before, after)
	case after != nil && s.waiting(after):
		s.podWaiting(before, after)
	case after != nil:
		s.podGone(after)
	case before != nil:
		s.podGone(before)
	}
}

// podAssigned: the API says the pod is on a node.
func (s *Scheduler) podAssigned(before, after *corev1.Pod) {
	known := s.cache.Pod(after.UID)
	info := s.refresh(known, after)
	s.cache.SetPod(info)
	change := framework.Change{Event: framework.ClusterEvent{Resource: framework.AssignedPod, Action: framework.Add, Label: "AssignedPodAdd"}, New: after}
	if before != nil && assigned(before) && known != nil {
		change.Old = before
		change.Event.Action, change.Event.Label = framework.PodChange(known, info), "AssignedPodUpdate"
		if change.Event.Action == framework.UpdateOther {
			return
		}
	} else {
		s.forget(after)
	}
	s.queue.Move(change)
}

// podWaiting: the API says the pod has no node. One that was decided on meanwhile is left to its binding.
func (s *Scheduler) podWaiting(before, after *corev1.Pod) {
	if before != nil && before.ResourceVersion == after.ResourceVersion && after.ResourceVersion != "" {
		return
	}
	if _, _, placed := s.cache.Placed(after.UID); placed {
		return
	}
	info := s.info(after)
	s.nominator.Refresh(before, after, info)
	s.queue.Update(info)
	if before != nil && before.Status.NominatedNodeName != "" && before.Status.NominatedNodeName != after.Status.NominatedNodeName {
		s.left(before)
	}
}

// podGone: the pod was deleted or has ended.
func (s *Scheduler) podGone(pod *corev1.Pod) {
	_, _, placed := s.cache.Placed(pod.UID)
	s.cache.RemovePod(pod.UID)
	s.forget(pod)
	if placed || pod.Status.NominatedNodeName != "" {
		s.left(pod)
	}
}

// left tells the queue that a pod left its node, or the node that it was promised, where it counted as if it were there.
func (s *Scheduler) left(pod *corev1.Pod) {
	s.queue.Move(framework.Change{
		Event: framework.ClusterEvent{Resource: framework.AssignedPod, Action: framework.Delete, Label: "AssignedPodDelete"}, Old: pod,
	})
}

// forget drops what is kept for pods that wait.
func (s *Scheduler) forget(pod *corev1.Pod) {
	s.queue.Delete(pod.UID)
	s.nominator.Remove(pod.UID)
	s.writer.forget(pod.UID)
}

// refresh computes the view of a newer version of a pod, reusing that of the one known.
func (s *Scheduler) refresh(known *framework.PodInfo, pod *corev1.Pod) *framework.PodInfo {
	if known == nil {
		return s.info(pod)
	}
	info, err := known.Refresh(pod)
	if err != nil {
		klog.Background().Error(err, "reading a pod", "pod", klog.KObj(pod))
	}
	return info
}

// info computes the view of a pod. A selector that can't be parsed matches nothing, as with upstream.
func (s *Scheduler) info(pod *corev1.Pod) *framework.PodInfo {
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		klog.Background().Error(err, "reading a pod", "pod", klog.KObj(pod))
	}
	return info
}
