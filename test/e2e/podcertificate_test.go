package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/test/cluster"
)

const certified = `
apiVersion: v1
kind: Pod
metadata: {name: certified}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: ` + cluster.OpenRegistry + `/agent:v1
    volumeMounts: [{name: identity, mountPath: /identity}]
  volumes:
  - name: identity
    projected:
      sources:
      - podCertificate: {signerName: example.com/signer, keyType: ECDSAP256, credentialBundlePath: bundle.pem}
`

// TestPodCertificates has the test sign what the node asks for in its pod's name.
func TestPodCertificates(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.ServeImages()
	c.Start()
	c.Apply(t, certified)
	var list certificatesv1.PodCertificateRequestList
	cluster.WaitFor(t, "a request", 30*time.Second, func() error {
		out, err := c.Try("get", "podcertificaterequests", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		if err == nil && len(list.Items) == 0 {
			_, err = c.Try("get", "podcertificaterequests/none-yet")
		}
		return err
	})
	request := list.Items[0]
	if request.Spec.PodName != "certified" || request.Spec.NodeName != "node-1" || request.Spec.ServiceAccountName != "default" {
		t.Errorf("the node asks for %+v", request.Spec)
	}
	chain, from, until := sign(t, &request)
	status, err := json.Marshal(map[string]any{"status": certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{{Type: "Issued", Status: "True", Reason: "Signed", Message: "here", LastTransitionTime: metav1.Now()}},
		CertificateChain: chain, NotBefore: &from, NotAfter: &until, BeginRefreshAt: &metav1.Time{Time: from.Add(12 * time.Hour)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "patch", "podcertificaterequests", request.Name, "--subresource=status", "--type=merge", "-p", string(status))
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/certified", "--timeout=60s")
	bundle := c.Kubectl(t, "exec", "certified", "--", "cat", "/identity/bundle.pem")
	if !strings.HasPrefix(bundle, "-----BEGIN PRIVATE KEY-----") || !strings.HasSuffix(strings.TrimSpace(bundle), strings.TrimSpace(chain)) {
		t.Errorf("the pod has %s", bundle)
	}
}

// sign makes a certificate for a request, of an authority that is made for it.
func sign(t *testing.T, request *certificatesv1.PodCertificateRequest) (chain string, from, until metav1.Time) {
	t.Helper()
	proof, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from = metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	until = metav1.NewTime(from.Add(24 * time.Hour))
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from.Time, NotAfter: until.Time}
	authority := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from.Time, NotAfter: until.Time, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, proof.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), from, until
}
