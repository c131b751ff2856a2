// Package noderestriction limits what a kubelet may write to what belongs to its
// own node: its Node object without taints and reserved labels, the status of
// its pods, tokens bound to them, its lease.
package noderestriction

import (
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	translation "k8s.io/csi-translation-lib"

	"skiff/apis/podspec"
	"skiff/apis/server/authz/node"
)

// Name is the plugin's name in upstream's configuration.
const Name = "NodeRestriction"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	pods       listers.PodLister
	client     kubernetes.Interface
	authorizer authorizer.UnconditionalAuthorizer
	translator translation.CSITranslator
}

var _ admission.MutationInterface = (*Plugin)(nil)

// New registers the pod informer. The authorizer is asked about audiences and
// signers that no volume of a pod names.
func New(i informers.SharedInformerFactory, client kubernetes.Interface, z authorizer.UnconditionalAuthorizer) *Plugin {
	pods := i.Core().V1().Pods()
	p := &Plugin{
		admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		pods.Lister(), client, z, translation.New(),
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
	case certificatesv1.Resource("podcertificaterequests"):
		return r.podCertificate(ctx)
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
		pod, err = r.plugin.client.CoreV1().Pods(r.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
	}
	return pod, missing(err, corev1.Resource("pod"), name)
}

// lookup is the answer to an object that can't be read: that it is not there
// may be said.
func (r request) lookup(err error) error {
	if apierrors.IsNotFound(err) {
		return err
	}
	return r.forbid("%w", err)
}

// nodeObject is the node itself.
func (r request) nodeObject(ctx context.Context) (*corev1.Node, error) {
	node, err := r.plugin.client.CoreV1().Nodes().Get(ctx, r.node, fromCache())
	return node, missing(err, corev1.Resource("node"), r.node)
}

// missing says what isn't there as a cache of Kubernetes does: in the singular.
func missing(err error, what schema.GroupResource, name string) error {
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(what, name)
	}
	return err
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

// claim allows a node to say how far the expansion of a volume is.
func (r request) claim() error {
	switch {
	case r.GetSubresource() != "status":
		return r.forbid("may only update PVC status")
	case r.GetOperation() != admission.Update:
		return r.forbid("unexpected operation %q", r.GetOperation())
	}
	old, ok := r.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok {
		return r.forbid("unexpected type %T", r.GetOldObject())
	}
	now, ok := r.GetObject().(*corev1.PersistentVolumeClaim)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	old, now = withoutExpansion(old), withoutExpansion(now)
	if !equality.Semantic.DeepEqual(old, now) {
		return r.forbid("node %q is not allowed to update fields other than status.quantity and status.conditions: %v", r.node, podspec.Diff(*old, *now))
	}
	return nil
}

func withoutExpansion(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	c = c.DeepCopy()
	c.TypeMeta, c.ResourceVersion, c.ManagedFields = metav1.TypeMeta{}, "", nil
	c.Status.Capacity, c.Status.Conditions = nil, nil
	c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil
	return c
}

func (r request) slice() error {
	o := r.GetObject()
	switch r.GetOperation() {
	case admission.Create:
	case admission.Delete:
		o = r.GetOldObject()
	default:
		return nil // the authorizer has looked at the slice as it is
	}
	s, ok := o.(*resourcev1.ResourceSlice)
	if !ok {
		return r.forbid("unexpected type %T", o)
	}
	if s.Spec.NodeName == nil || *s.Spec.NodeName != r.node {
		return r.forbid("can only %s ResourceSlice with the same NodeName as the requesting node", strings.ToLower(string(r.GetOperation())))
	}
	return nil
}
