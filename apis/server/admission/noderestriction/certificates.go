package noderestriction

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// signing allows a node to ask for certificates in its own name.
func (r request) signing() error {
	if r.GetOperation() != admission.Create {
		return nil
	}
	csr, ok := r.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	switch csr.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName:
	default:
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return r.forbid("unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return r.forbid("unable to parse csr: %w", err)
	}
	if want := "system:node:" + r.node; request.Subject.CommonName != want {
		return r.forbid("can only create a node CSR with CN=%s", want)
	}
	return nil
}

// podCertificate allows a node to ask for certificates of pods that it runs
// (KEP-4317). What may be the lag of a cache is no refusal: the node tries again.
func (r request) podCertificate(ctx context.Context) error {
	switch {
	case r.GetOperation() != admission.Create:
		return r.forbid("unexpected operation %v", r.GetOperation())
	case r.GetSubresource() != "":
		return r.forbid("unexpected subresource %v", r.GetSubresource())
	}
	req, ok := r.GetObject().(*certificatesv1.PodCertificateRequest)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	if string(req.Spec.NodeName) != r.node {
		return r.forbid("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", req.Spec.NodeName, r.node)
	}
	name := r.GetNamespace() + "/" + req.Spec.PodName
	node, err := r.nodeObject(ctx)
	if err != nil {
		return fmt.Errorf("while retrieving node %q named in the PodCertificateRequest: %w", req.Spec.NodeName, err)
	}
	if node.UID != req.Spec.NodeUID {
		return fmt.Errorf("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", name, req.Spec.NodeUID, node.UID)
	}
	pod, err := r.pod(ctx, req.Spec.PodName)
	if err != nil {
		return fmt.Errorf("while retrieving pod %q named in the PodCertificateRequest: %w", name, err)
	}
	if req.Spec.PodUID != pod.UID {
		return fmt.Errorf("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", name, req.Spec.PodUID, pod.UID)
	}
	if pod.Spec.NodeName != string(req.Spec.NodeName) {
		return r.forbid("pod %q is not running on node %q named in the PodCertificateRequest", name, req.Spec.NodeName)
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return r.forbid("pod %q is a mirror pod", name)
	}
	if req.Spec.ServiceAccountName != pod.Spec.ServiceAccountName {
		return r.forbid("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", name, req.Spec.ServiceAccountName, pod.Spec.ServiceAccountName)
	}
	account, err := r.plugin.client.CoreV1().ServiceAccounts(r.GetNamespace()).Get(ctx, req.Spec.ServiceAccountName, fromCache())
	if err = missing(err, corev1.Resource("serviceaccount"), req.Spec.ServiceAccountName); err != nil {
		return fmt.Errorf("while retrieving service account %q named in the PodCertificateRequest: %w", r.GetNamespace()+"/"+req.Spec.ServiceAccountName, err)
	}
	if req.Spec.ServiceAccountUID != account.UID {
		return fmt.Errorf("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", name, req.Spec.ServiceAccountUID, account.UID)
	}
	return r.signer(ctx, pod, req.Spec.SignerName, req.Spec.ServiceAccountName)
}

// signer allows the signers that the pod's volumes name, and those that an
// administrator has allowed.
func (r request) signer(ctx context.Context, pod *corev1.Pod, signer, account string) error {
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.PodCertificate != nil && s.PodCertificate.SignerName == signer
		})
	}) {
		return nil
	}
	// a resource's name has no slashes
	allowed, err := r.authorized(ctx, "request-serviceaccounts-podcertificate-signer", strings.ReplaceAll(signer, "/", ":"), account)
	switch {
	case allowed:
		return nil
	case err != nil:
		return r.forbid("error authorizing %s to request podcertificaterequests for signer %q: %w", r.GetUserInfo().GetName(), signer, err)
	}
	return r.forbid("pod %q does not mount a podCertificate projected volume for signer %q", r.GetNamespace()+"/"+pod.Name, signer)
}
