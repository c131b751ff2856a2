// Package podresize refuses to resize a pod beyond what its node could ever
// give it.
package podresize

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/component-helpers/resource"
)

// Name is the plugin's name in upstream's configuration.
const Name = "PodResizeValidator"

// The causes of a refusal.
const (
	NodeCapacity        metav1.CauseType = "NodeCapacity"
	UnsupportedPlatform metav1.CauseType = "UnsupportedPlatform"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	nodes listers.NodeLister
}

var _ admission.ValidationInterface = (*Plugin)(nil)

// New registers the node informer.
func New(i informers.SharedInformerFactory) *Plugin {
	nodes := i.Core().V1().Nodes()
	p := &Plugin{admission.NewHandler(admission.Update), nodes.Lister()}
	p.SetReadyFunc(nodes.Informer().HasSynced)
	return p
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != (schema.GroupResource{Resource: "pods"}) || a.GetSubresource() != "resize" {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	old, had := a.GetOldObject().(*corev1.Pod)
	if !ok || !had {
		return apierrors.NewBadRequest(fmt.Sprintf("expected a pod but got a %T", a.GetObject()))
	}
	if pod.Spec.NodeName == "" || old.Generation == pod.Generation {
		return nil
	}
	if !p.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	node, err := p.nodes.Get(pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err))
	}
	if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != "linux" {
		return refuse(a, UnsupportedPlatform, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
	}
	if err := fits(pod, node.Status.Allocatable); err != nil {
		return refuse(a, NodeCapacity, err)
	}
	return nil
}

func fits(pod *corev1.Pod, allocatable corev1.ResourceList) error {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	var lacking []string
	if r, have := requests.Cpu(), allocatable.Cpu(); r.Cmp(*have) > 0 {
		lacking = append(lacking, fmt.Sprintf("cpu, requested: %d, allocatable: %d", r.MilliValue(), have.MilliValue()))
	}
	if r, have := requests.Memory(), allocatable.Memory(); r.Cmp(*have) > 0 {
		lacking = append(lacking, fmt.Sprintf("memory, requested: %d, allocatable: %d", r.Value(), have.Value()))
	}
	if len(lacking) == 0 {
		return nil
	}
	return fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(lacking, "; "))
}

// refuse tells the scheduler and tools why, in a cause.
func refuse(a admission.Attributes, cause metav1.CauseType, err error) error {
	forbidden := admission.NewForbidden(a, err)
	var status *apierrors.StatusError
	if errors.As(forbidden, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return forbidden
}
