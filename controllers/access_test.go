package controllers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server"
	"skiff/controllers"
	"skiff/controllers/certificates"
	"skiff/test/env"
)

func newAuthority() *certificates.Authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &certificates.Authority{Certificate: cert, Key: key}
}

func nodeRequest(t *testing.T, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}
}

// TestNodeCertificateStory lets a joining node ask for its certificate, a person without the right too.
func TestNodeCertificateStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "joining"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:bootstrappers"}},
	}
	bootstrap := *binding.DeepCopy()
	bootstrap.ObjectMeta, bootstrap.RoleRef.Name = metav1.ObjectMeta{Name: "asking"}, "system:node-bootstrapper"
	bootstrap.Subjects = append(bootstrap.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "curious"})
	for _, b := range []*rbacv1.ClusterRoleBinding{binding, &bootstrap} {
		if _, err := c.client.RbacV1().ClusterRoleBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	requests := c.client.CertificatesV1().CertificateSigningRequests()
	ask := func(name, user, group string) {
		client := kubernetes.NewForConfigOrDie(c.server.Config(user, group, "system:authenticated"))
		c.eventually("a request by "+user, func(ctx context.Context) string {
			_, err := client.CertificatesV1().CertificateSigningRequests().Create(ctx, nodeRequest(t, name), metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return err.Error()
			}
			return ""
		})
	}
	ask("node-8", "somebody", "curious")
	ask("node-7", "system:bootstrap:abcdef", "system:bootstrappers")
	c.eventually("certificate", func(ctx context.Context) string {
		csr, err := requests.Get(ctx, "node-7", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		block, _ := pem.Decode(csr.Status.Certificate)
		if block == nil {
			return fmt.Sprintf("%+v", csr.Status)
		}
		if got := csr.Status.Conditions[0]; got.Reason != "AutoApproved" || got.Message != "Auto approving kubelet client certificate after SubjectAccessReview." {
			t.Errorf("condition %+v", got)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || cert.Subject.CommonName != "system:node:node-7" {
			t.Errorf("certificate of %v, %v", cert.Subject, err)
		}
		return ""
	})
	if csr, err := requests.Get(ctx, "node-8", metav1.GetOptions{}); err != nil || len(csr.Status.Conditions) > 0 || csr.Status.Certificate != nil {
		t.Errorf("the request of somebody: %+v, %v", csr.Status, err)
	}
}

// TestServingCertificateStory has a joined node ask for serving certificates: for its own address, and for another's.
func TestServingCertificateStory(t *testing.T) {
	c := newServer(t, env.Options{Configure: func(s *server.Config) { s.NodeConfig = map[string]string{} }})
	c.control(func(*controllers.Deps) {})
	ctx := t.Context()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-7"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}},
	}
	if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(c.server.Config("system:node:node-7", "system:nodes"))
	for name, address := range map[string]string{"right": "192.0.2.7", "wrong": "192.0.2.8"} {
		c.eventually("the request "+name, func(ctx context.Context) string {
			_, err := client.CertificatesV1().CertificateSigningRequests().Create(ctx, servingRequest(t, name, "node-7", address), metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return err.Error()
			}
			return ""
		})
	}
	requests := c.client.CertificatesV1().CertificateSigningRequests()
	c.eventually("a serving certificate", func(ctx context.Context) string {
		csr, err := requests.Get(ctx, "right", metav1.GetOptions{})
		if err != nil || len(csr.Status.Certificate) == 0 {
			return fmt.Sprintf("%+v, %v", csr.Status, err)
		}
		return ""
	})
	if csr, err := requests.Get(ctx, "wrong", metav1.GetOptions{}); err != nil || len(csr.Status.Conditions) > 0 {
		t.Errorf("the request for another address: %+v, %v", csr.Status, err)
	}
}

func servingRequest(t *testing.T, name, node, address string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	csr := nodeRequest(t, name)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}, IPAddresses: []net.IP{net.ParseIP(address)},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	csr.Spec.SignerName = certificatesv1.KubeletServingSignerName
	csr.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	return csr
}

// TestBootstrapTokenStory signs cluster-info for a token and forgets it when the token has expired.
func TestBootstrapTokenStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "clusters: []"}}
	if _, err := c.client.CoreV1().ConfigMaps("kube-public").Create(ctx, info, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token",
		StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"},
	}
	tokens := c.client.CoreV1().Secrets("kube-system")
	if _, err := tokens.Create(ctx, token, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	signed := func(want bool) func(context.Context) string {
		return func(ctx context.Context) string {
			info, err := c.client.CoreV1().ConfigMaps("kube-public").Get(ctx, "cluster-info", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			if (info.Data["jws-kubeconfig-abcdef"] != "") != want {
				return fmt.Sprintf("%v", info.Data)
			}
			return ""
		}
	}
	c.eventually("signature", signed(true))
	kind, patch := merge(`{"stringData":{"expiration":"` + time.Now().Add(-time.Second).UTC().Format(time.RFC3339) + `"}}`)
	if _, err := tokens.Patch(ctx, token.Name, kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the token", tokens.Get, token.Name)
	c.eventually("end of the signature", signed(false))
}
