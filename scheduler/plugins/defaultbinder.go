package plugins

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/scheduler/framework"
)

// DefaultBinder writes the decision to the pod's binding subresource.
type DefaultBinder struct{ client kubernetes.Interface }

// NewDefaultBinder makes the plugin.
func NewDefaultBinder(d Deps) DefaultBinder { return DefaultBinder{d.Client} }

// Name implements framework.Plugin.
func (DefaultBinder) Name() string { return "DefaultBinder" }

// Bind posts the binding. When the answer leaves open whether it took place, it asks for the pod, so that a pod that is
// bound is never given back.
func (b DefaultBinder) Bind(ctx context.Context, c *framework.Cycle, node string) *framework.Status {
	pod := c.Pod.Pod
	err := b.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err == nil || (ambiguous(err) && b.bound(ctx, pod, node)) {
		return nil
	}
	return framework.AsStatus(fmt.Errorf("binding the pod to node %s: %w", node, err))
}

// ambiguous: an answer that came from the API and says no is trusted; a lost one, and a conflict (which may be with a
// first try whose answer was lost), is not.
func ambiguous(err error) bool {
	return apierrors.ReasonForError(err) == metav1.StatusReasonUnknown || apierrors.IsConflict(err) ||
		apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsInternalError(err)
}

func (b DefaultBinder) bound(ctx context.Context, pod *corev1.Pod, node string) bool {
	now, err := b.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	return err == nil && now.UID == pod.UID && now.Spec.NodeName == node
}
