// Package certificates approves, signs and clears away CertificateSigningRequests.
//
//	pending ──approve: a kubelet's client certificate, if its user may──> approved ──sign──> issued
//	   │                                                                     └──refused by its signer──> failed
//	   └──by a person──> denied                         each is deleted when its time is up
package certificates

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/certificates/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/signing"
)

type reconciler struct {
	env       controller.Env
	authority *Authority
	requests  listers.CertificateSigningRequestLister
}

// New declares the controller. Without an authority nothing is signed.
func New(env controller.Env, authority *Authority) (controller.Spec, error) {
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	r := &reconciler{env: env, authority: authority, requests: requests.Lister()}
	return controller.Spec{
		Name: "certificates", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: requests.Informer(), Keys: controller.Self}},
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
	action, again := Next(csr, r.env.Clock.Now())
	switch action {
	case Delete:
		err = r.delete(ctx, csr)
	case Approve:
		err = r.approve(ctx, csr)
	case Sign:
		err = r.sign(ctx, csr)
	case Wait:
	}
	return controller.Result{RequeueAfter: again}, err
}

func (r *reconciler) delete(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	err := r.env.Client.CertificatesV1().CertificateSigningRequests().Delete(ctx, csr.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &csr.UID, ResourceVersion: &csr.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting: %w", err)
	}
	return nil
}

func (r *reconciler) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	if r.authority == nil {
		return nil
	}
	request, err := signing.Parse(csr.Spec.Request)
	if err != nil {
		return err
	}
	csr = csr.DeepCopy()
	now := r.env.Clock.Now()
	if refusal := valid(csr.Spec.SignerName, request, csr.Spec.Usages); refusal != nil {
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
			Message: refusal.Error(), LastUpdateTime: metav1.NewTime(now),
		})
	} else if csr.Status.Certificate, err = r.authority.Sign(request, csr.Spec.Usages, csr.Spec.ExpirationSeconds, now); err != nil {
		return fmt.Errorf("error auto signing csr: %w", err)
	}
	_, err = r.env.Client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, csr, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the certificate: %w", err)
	}
	return nil
}
