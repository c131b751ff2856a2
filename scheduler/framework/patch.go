package framework

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
)

// PatchStatus writes to the API what change does to the pod's status, and answers the pod as it is then; nothing when it
// changes nothing. The patch holds the pod's UID, so a pod created anew under the name is not touched.
func PatchStatus(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, change func(*corev1.PodStatus)) (*corev1.Pod, error) {
	status := pod.Status.DeepCopy()
	change(status)
	before, err := json.Marshal(corev1.Pod{Status: pod.Status})
	if err != nil {
		return nil, fmt.Errorf("encoding the pod status: %w", err)
	}
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: *status})
	if err != nil {
		return nil, fmt.Errorf("encoding the new pod status: %w", err)
	}
	same, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: pod.Status})
	if err != nil {
		return nil, fmt.Errorf("encoding the pod status: %w", err)
	}
	if string(same) == string(after) {
		return pod, nil
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("computing the status patch: %w", err)
	}
	return client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
}

// SetCondition puts a condition into a status; the transition time changes only with the condition's status.
func SetCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	condition.LastTransitionTime = metav1.Now()
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
			condition.LastProbeTime = old.LastProbeTime
		}
		*old = condition
		return
	}
	status.Conditions = append(status.Conditions, condition)
}
