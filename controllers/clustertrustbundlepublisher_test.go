package controllers_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestClusterTrustBundleStory trusts the API server by what is published for that, and tries to change it.
func TestClusterTrustBundleStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	bundles := c.client.CertificatesV1().ClusterTrustBundles()
	const signer = "kubernetes.io/kube-apiserver-serving"
	var published *certificatesv1.ClusterTrustBundle
	right := func(ctx context.Context) string {
		list, err := bundles.List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=" + signer})
		if err != nil || len(list.Items) != 1 {
			return fmt.Sprintf("%v, %v", list, err)
		}
		published = &list.Items[0]
		if published.Spec.TrustBundle != string(c.server.PKI.CA()) {
			return published.Spec.TrustBundle
		}
		return ""
	}
	c.eventually("trust bundle", right)
	if !strings.HasPrefix(published.Name, "kubernetes.io:kube-apiserver-serving:") {
		t.Errorf("name %s", published.Name)
	}
	trusting := rest.CopyConfig(c.server.Remote("kubernetes-admin", "system:masters"))
	trusting.CAData = []byte(published.Spec.TrustBundle)
	client, err := rest.HTTPClientFor(trusting)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server.URL()+"/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatalf("the bundle does not verify the server: %v", err)
	}
	_ = answer.Body.Close()
	client.CloseIdleConnections()

	first := published.UID
	published.Spec.TrustBundle = string(foreign(t))
	if _, err := bundles.Update(ctx, published, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the bundle as it was", right)
	if published.UID != first {
		t.Error("it was made anew")
	}
	stale := &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes.io:kube-apiserver-serving:old"},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: string(foreign(t))},
	}
	other := &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "example.com:them:old"},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: "example.com/them", TrustBundle: string(foreign(t))},
	}
	for _, b := range []*certificatesv1.ClusterTrustBundle{other, stale} {
		if _, err := bundles.Create(ctx, b, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	gone(c, "end of the old bundle", bundles.Get, stale.Name)
	if _, err := bundles.Get(ctx, other.Name, metav1.GetOptions{}); err != nil {
		t.Errorf("another signer's bundle: %v", err)
	}
	if err := bundles.Delete(ctx, published.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("another bundle", func(ctx context.Context) string {
		if problem := right(ctx); problem != "" {
			return problem
		}
		if published.UID == first {
			return "it is still there"
		}
		return ""
	})
}

// foreign is a certificate that signs nothing here.
func foreign(t *testing.T) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newAuthority().Certificate.Raw})
}
