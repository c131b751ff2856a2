// Package limitranger fills in the default requests and limits of a namespace's
// LimitRanges, and refuses pods and claims outside of their bounds.
package limitranger

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/core/v1"
)

// Name is the plugin's name in upstream's configuration.
const Name = "LimitRanger"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	ranges listers.LimitRangeLister
}

var (
	_ admission.MutationInterface   = (*Plugin)(nil)
	_ admission.ValidationInterface = (*Plugin)(nil)
)

// New registers the limit range informer.
func New(i informers.SharedInformerFactory) *Plugin {
	ranges := i.Core().V1().LimitRanges()
	p := &Plugin{admission.NewHandler(admission.Create, admission.Update), ranges.Lister()}
	p.SetReadyFunc(ranges.Informer().HasSynced)
	return p
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return nil
	}
	ranges, err := p.of(a)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		applyDefaults(pod, r)
	}
	return nil
}

// Validate implements admission.ValidationInterface. A pod's resources change
// only at its creation and through its resize endpoint.
func (p *Plugin) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	ranges, err := p.of(a)
	if err != nil {
		return err
	}
	var errs []error
	switch o := a.GetObject().(type) {
	case *corev1.Pod:
		if (a.GetOperation() != admission.Create || a.GetSubresource() != "") && a.GetSubresource() != "resize" {
			return nil
		}
		for _, r := range ranges {
			errs = append(errs, checkPod(o, r)...)
		}
	case *corev1.PersistentVolumeClaim:
		if a.GetSubresource() != "" {
			return nil
		}
		for _, r := range ranges {
			errs = append(errs, checkClaim(o, r)...)
		}
	}
	if err := utilerrors.NewAggregate(errs); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// of lists the ranges of the request's namespace, for kinds that have limits.
func (p *Plugin) of(a admission.Attributes) ([]*corev1.LimitRange, error) {
	switch a.GetResource().GroupResource() {
	case corev1.Resource("pods"), corev1.Resource("persistentvolumeclaims"):
	default:
		return nil, nil
	}
	ranges, err := p.ranges.LimitRanges(a.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil, admission.NewForbidden(a, err)
	}
	return ranges, nil
}
