package certificates

import (
	"context"
	"crypto/x509"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/controllers/internal/signing"
)

// right is a permission that stands for a human's approval.
type right struct{ subresource, message string }

// rights answers the permissions of which one would approve the request: kubelets' client certificates only
// (https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval).
func rights(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) []right {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || valid(csr.Spec.SignerName, request, csr.Spec.Usages) != nil {
		return nil
	}
	node := right{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}
	if csr.Spec.Username == request.Subject.CommonName {
		return []right{{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}, node}
	}
	return []right{node}
}

func (r *reconciler) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	request, err := signing.Parse(csr.Spec.Request)
	if err != nil {
		return err
	}
	for _, right := range rights(csr, request) {
		allowed, err := r.allowed(ctx, csr, right.subresource)
		if err != nil {
			return err
		}
		if !allowed {
			continue
		}
		csr = csr.DeepCopy()
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: right.message,
		})
		_, err = r.env.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("approving: %w", err)
		}
		return nil
	}
	return nil
}

func (r *reconciler) allowed(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range csr.Spec.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review, err := r.env.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Subresource: subresource, Verb: "create",
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("asking whether the request is allowed: %w", err)
	}
	return review.Status.Allowed, nil
}
