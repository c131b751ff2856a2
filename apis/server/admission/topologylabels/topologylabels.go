// Package topologylabels copies a node's zone and region to the pods that are
// bound to it, so that containers can read them through the downward API.
package topologylabels

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/core/v1"
)

// Name is the plugin's name in upstream's configuration.
const Name = "PodTopologyLabels"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	nodes listers.NodeLister
}

var _ admission.MutationInterface = (*Plugin)(nil)

// New registers the node informer.
func New(i informers.SharedInformerFactory) *Plugin {
	nodes := i.Core().V1().Nodes()
	p := &Plugin{admission.NewHandler(admission.Create), nodes.Lister()}
	p.SetReadyFunc(nodes.Informer().HasSynced)
	return p
}

// Admit implements admission.MutationInterface. A binding's labels become the
// pod's when it is bound.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != (schema.GroupResource{Resource: "pods"}) {
		return nil
	}
	var meta *metav1.ObjectMeta
	var node string
	switch o := a.GetObject().(type) {
	case *corev1.Pod:
		if a.GetSubresource() == "" {
			meta, node = &o.ObjectMeta, o.Spec.NodeName
		}
	case *corev1.Binding:
		if a.GetSubresource() == "binding" && o.Target.Kind == "Node" {
			meta, node = &o.ObjectMeta, o.Target.Name
		}
	}
	if node == "" {
		return nil
	}
	if !p.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	return p.label(meta, node)
}

// label passes over a node that isn't known.
func (p *Plugin) label(meta *metav1.ObjectMeta, name string) error {
	node, err := p.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading node %s: %w", name, err)
	}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		value, ok := node.Labels[key]
		if !ok {
			continue
		}
		if meta.Labels == nil {
			meta.Labels = map[string]string{}
		}
		meta.Labels[key] = value
	}
	return nil
}
