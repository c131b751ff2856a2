// Package noderestriction limits what a kubelet may write to what belongs to its
// own node: its Node object without taints and reserved labels, the status of
// its pods, tokens bound to them, its lease.
package noderestriction

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/apis/server/authz/node"
)

// Name is the plugin's name in upstream's configuration.
const Name = "NodeRestriction"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	pods   listers.PodLister
	client kubernetes.Interface
}

var _ admission.MutationInterface = (*Plugin)(nil)

// New registers the pod informer.
func New(i informers.SharedInformerFactory, client kubernetes.Interface) *Plugin {
	pods := i.Core().V1().Pods()
	p := &Plugin{
		admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		pods.Lister(), client,
	}
	p.SetReadyFunc(pods.Informer().HasSynced)
	return p
}

// request is one write of one node.
type request struct {
	admission.Attributes

	plugin *Plugin
	node   string
}

// Admit implements admission.MutationInterface. It changes nothing, but runs
// where upstream's does, before objects are completed by later plugins.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	name, ok := node.Name(a.GetUserInfo())
	if !ok {
		return nil
	}
	r := request{a, p, name}
	if name == "" {
		return r.forbid("could not determine node from user %q", a.GetUserInfo().GetName())
	}
	switch a.GetResource().GroupResource() {
	case corev1.Resource("pods"):
		return r.pods(ctx)
	case corev1.Resource("nodes"):
		return r.nodes()
	case corev1.Resource("persistentvolumeclaims"):
		return r.claim()
	case corev1.Resource("serviceaccounts"):
		return r.token(ctx)
	case coordinationv1.Resource("leases"):
		return r.lease()
	case storagev1.Resource("csinodes"):
		return r.named("CSINode")
	case resourcev1.Resource("resourceslices"):
		return r.slice()
	case certificatesv1.Resource("certificatesigningrequests"):
		return r.signing()
	}
	return nil
}

func (r request) forbid(format string, args ...any) error {
	return admission.NewForbidden(r.Attributes, fmt.Errorf(format, args...))
}

// pod looks in the cache, then asks the server.
func (r request) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	pod, err := r.plugin.pods.Pods(r.GetNamespace()).Get(name)
	if apierrors.IsNotFound(err) {
		return r.plugin.client.CoreV1().Pods(r.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
	}
	return pod, err
}

// token allows tokens bound to a pod that runs on the node.
func (r request) token(ctx context.Context) error {
	if r.GetOperation() != admission.Create || r.GetSubresource() != "token" {
		return nil
	}
	tr, ok := r.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	ref := tr.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return r.forbid("node requested token not bound to a pod")
	case ref.UID == "":
		return r.forbid("node requested token with a pod binding without a uid")
	}
	pod, err := r.pod(ctx, ref.Name)
	if apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		return r.forbid("%w", err)
	}
	switch {
	case pod.UID != ref.UID:
		return r.forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != r.node:
		return r.forbid("node requested token bound to a pod scheduled on a different node")
	case pod.Spec.ServiceAccountName != r.GetName():
		return r.forbid("node requested token of a service account that the pod doesn't use")
	}
	return nil
}

func (r request) lease() error {
	if r.GetNamespace() != corev1.NamespaceNodeLease {
		return r.forbid("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	return r.named("node lease")
}

// named allows only objects called like the node.
func (r request) named(what string) error {
	name := r.GetName()
	if o, ok := r.GetObject().(metav1.Object); ok && r.GetOperation() == admission.Create {
		name = o.GetName()
	}
	if name != r.node {
		return r.forbid("can only access %s with the same name as the requesting node", what)
	}
	return nil
}

func (r request) claim() error {
	if r.GetSubresource() != "status" || r.GetOperation() != admission.Update {
		return r.forbid("may only update PVC status")
	}
	return nil
}

func (r request) slice() error {
	o := r.GetObject()
	if r.GetOperation() == admission.Delete {
		o = r.GetOldObject()
	}
	s, ok := o.(*resourcev1.ResourceSlice)
	if !ok {
		return nil // a collection, whose items the authorizer has limited
	}
	if s.Spec.NodeName == nil || *s.Spec.NodeName != r.node {
		return r.forbid("can only %s ResourceSlice with the same NodeName as the requesting node", r.GetOperation())
	}
	return nil
}
