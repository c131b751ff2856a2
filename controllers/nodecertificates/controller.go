// Package nodecertificates approves the certificates that joined nodes ask for and that upstream leaves to people: the one
// that a kubelet serves with, when it is for the node's own addresses, and the one by which the node's other parts (Service
// proxy, network policies, DNS, local volumes) are known. The certificates controller signs them. What is not approved
// stays pending, for a person to decide, and an event of the request tells why.
package nodecertificates

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/listers/certificates/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/signing"
)

// again is when a refused request is looked at again: its node may register, or report its addresses, in a moment.
const again = time.Second

// patience is how long after its creation a request is looked at again; it is what a starting node needs.
const patience = time.Minute

type reconciler struct {
	env      controller.Env
	reserved Reserved
	requests v1.CertificateSigningRequestLister
	nodes    corelisters.NodeLister
}

// New declares the controller; it approves nothing for what is reserved.
func New(env controller.Env, reserved Reserved) (controller.Spec, error) {
	requests, nodes := env.Informers.Certificates().V1().CertificateSigningRequests(), env.Informers.Core().V1().Nodes()
	r := &reconciler{env: env, reserved: reserved, requests: requests.Lister(), nodes: nodes.Lister()}
	return controller.Spec{
		Name: "nodecertificates", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: requests.Informer(), Keys: controller.Self},
			{Informer: nodes.Informer(), Keys: func(_, _ metav1.Object) []controller.Key { return nil }}, // for its cache
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	csr, err := r.requests.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading request: %w", err)
	}
	name, ours := NodeOf(csr)
	if !ours || !Pending(csr) {
		return controller.Result{}, nil
	}
	request, err := signing.Parse(csr.Spec.Request)
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading request: %w", err)
	}
	nodes, err := r.nodes.List(labels.Everything())
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing nodes: %w", err)
	}
	node, err := r.nodes.Get(name)
	if err != nil {
		node = nil // gone, or not there yet
	}
	if refusal := Refusal(csr, request, node, nodes, r.reserved); refusal != nil {
		if r.env.Clock.Since(csr.CreationTimestamp.Time) < patience {
			return controller.Result{RequeueAfter: again}, nil
		}
		r.env.Events.Eventf(csr, corev1.EventTypeWarning, "NotApproved", "Not approved automatically: %v", refusal)
		return controller.Result{}, nil
	}
	return controller.Result{}, r.approve(ctx, csr)
}

func (r *reconciler) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	csr = csr.DeepCopy()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved",
		Message: "Auto approving a certificate of a joined node for its own names and addresses.",
	})
	_, err := r.env.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("approving: %w", err)
	}
	return nil
}
