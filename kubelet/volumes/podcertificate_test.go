package volumes

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"skiff/kubelet/internal/mounttest"
)

// signer decides on requests when they are created: it issues numbered chains that live for a day, or denies.
type signer struct {
	deny bool

	mu       sync.Mutex
	requests []*certificatesv1.PodCertificateRequest
}

func (s *signer) asked() []*certificatesv1.PodCertificateRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *signer) react(action clienttesting.Action) (bool, runtime.Object, error) {
	create, ok := action.(clienttesting.CreateActionImpl)
	if !ok {
		return false, nil, nil
	}
	request := create.GetObject().(*certificatesv1.PodCertificateRequest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
	request.Name = fmt.Sprintf("%s%d", request.GenerateName, len(s.requests))
	if s.deny {
		request.Status.Conditions = []metav1.Condition{{Type: "Denied", Status: "True", Reason: "Policy", Message: "not you"}}
		return false, nil, nil
	}
	now := time.Now()
	request.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{{Type: "Issued", Status: "True", Reason: "Signed"}},
		CertificateChain: "noise\n" + chain(len(s.requests)),
		BeginRefreshAt:   ptr.To(metav1.NewTime(now.Add(12 * time.Hour))), NotAfter: ptr.To(metav1.NewTime(now.Add(24 * time.Hour))),
	}
	return false, nil, nil
}

func chain(n int) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{byte(n)}}))
}

func certificateVolume() corev1.Volume {
	return corev1.Volume{Name: "identity", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](0o644), Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{
			SignerName: "example.com/signer", KeyType: "ED25519", MaxExpirationSeconds: ptr.To[int32](86400),
			CredentialBundlePath: "bundle.pem", KeyPath: "key.pem", CertificateChainPath: "chain.pem",
			UserAnnotations: map[string]string{"example.com/a": "b"},
		}}},
	}}}
}

// certified is a manager whose pod asks for certificates, with the API's objects that this needs.
func certified(t *testing.T, root string, s *signer) (*Manager, *record.FakeRecorder) {
	t.Helper()
	client := fake.NewClientset(
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner", Namespace: "shop", UID: "account"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid"}},
	)
	client.PrependReactor("create", "podcertificaterequests", s.react)
	events := record.NewFakeRecorder(10)
	m, err := New(Config{Root: root}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0), Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return m, events
}

func certifiedPod() *corev1.Pod {
	pod := podWith(certificateVolume())
	pod.Spec.NodeName = "node"
	return pod
}

func TestPodCertificatesAreIssuedAndRenewed(t *testing.T) {
	mounttest.Need(t)
	root := t.TempDir()
	cleanMounts(t, root)
	synctest.Test(t, func(t *testing.T) {
		s := &signer{}
		m, _ := certified(t, root, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		defer func() { cancel(); <-done }()
		pod := certifiedPod()
		paths, err := m.Mount(ctx, pod)
		if err != nil {
			t.Fatal(err)
		}
		read := func(name string) []byte {
			t.Helper()
			data, err := os.ReadFile(filepath.Join(paths["identity"], name))
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		key := read("key.pem")
		if got := string(read("chain.pem")); got != chain(1) {
			t.Errorf("the chain is %q", got)
		}
		if !bytes.Equal(read("bundle.pem"), append(bytes.Clone(key), chain(1)...)) {
			t.Errorf("the bundle is not key and chain: %s", read("bundle.pem"))
		}
		spec := s.asked()[0].Spec
		if spec.SignerName != "example.com/signer" || spec.PodUID != pod.UID || spec.ServiceAccountUID != "account" || spec.NodeUID != "node-uid" ||
			spec.NodeName != "node" || *spec.MaxExpirationSeconds != 86400 || spec.UnverifiedUserAnnotations["example.com/a"] != "b" {
			t.Errorf("asked for %+v", spec)
		}
		proof, err := x509.ParseCertificateRequest(spec.StubPKCS10Request)
		if err != nil || proof.CheckSignature() != nil {
			t.Errorf("the proof of possession is no good: %v", err)
		}
		if owners := s.asked()[0].OwnerReferences; len(owners) != 1 || owners[0].UID != pod.UID {
			t.Errorf("the request is owned by %+v", owners)
		}
		time.Sleep(12*time.Hour - time.Second)
		synctest.Wait()
		if got := string(read("chain.pem")); got != chain(1) || len(s.asked()) != 1 {
			t.Errorf("renewed before its time: %d requests, %q", len(s.asked()), got)
		}
		time.Sleep(certificateSpread + 2*time.Second)
		synctest.Wait()
		if got := string(read("chain.pem")); got != chain(2) || bytes.Equal(read("key.pem"), key) {
			t.Errorf("not renewed with a new key: %q", got)
		}
		if err := m.Unmount(ctx, pod.UID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if len(s.asked()) != 2 {
			t.Errorf("%d requests, the last for a pod that is gone", len(s.asked()))
		}
	})
}

func TestDeniedPodCertificatesEndTheMount(t *testing.T) {
	mounttest.Need(t)
	s := &signer{deny: true}
	m, events := certified(t, t.TempDir(), s)
	pod := certifiedPod()
	for range 2 {
		_, err := m.Mount(t.Context(), pod)
		want := `MountVolume.SetUp failed for volume "identity" : PodCertificateRequest was permanently denied: reason="Policy" message="not you"`
		if err == nil || err.Error() != want {
			t.Errorf("mounting: %v", err)
		}
	}
	if len(s.asked()) != 1 {
		t.Errorf("asked %d times", len(s.asked()))
	}
	if got := <-events.Events; got != `Warning Denied PodCertificateRequest shop/req-1 was denied, reason="Policy", message="not you"` {
		t.Errorf("event %s", got)
	}
}

func TestCertificateMachine(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good := func() certificate {
		return certificate{key: []byte("k"), chain: []byte("c"), renew: now, expires: now.Add(time.Hour)}
	}
	pending := certificate{request: "req-1", fresh: []byte("k")}
	if pending.asks(now) || pending.settle(&certificatesv1.PodCertificateRequest{}, 0) != nil || pending.request == "" {
		t.Error("a pending request is given up")
	}
	if first, second := pending.next(now), pending.next(now); !first.Equal(now.Add(certificateFirstLook)) || !second.Equal(now.Add(2*certificateFirstLook)) {
		t.Errorf("looked at after %v and %v", first.Sub(now), second.Sub(now))
	}
	if pending.settle(nil, 0); !pending.asks(now) {
		t.Error("a request that is gone isn't made again")
	}
	c := good()
	if c.asks(now.Add(-time.Second)) || !c.asks(now) || !c.next(now).Equal(now) {
		t.Error("a certificate is not renewed in its time")
	}
	var texts []string
	for _, after := range []time.Duration{0, certificateOverdue, certificateOverdue + time.Second, 2 * time.Hour, 3 * time.Hour} {
		for _, e := range c.late(now.Add(after)) {
			texts = append(texts, e.reason)
		}
	}
	if got := strings.Join(texts, " "); got != "CertificateOverdueForRefresh CertificateExpired" {
		t.Errorf("told %s", got)
	}
	c.settle(&certificatesv1.PodCertificateRequest{Status: certificatesv1.PodCertificateRequestStatus{
		Conditions: []metav1.Condition{{Type: "Failed", Reason: "Broken", Message: "m"}},
	}}, 0)
	if c.asks(now.Add(time.Hour)) || c.ended == nil || !c.next(now).IsZero() {
		t.Error("a request that failed is not the end")
	}
}

func TestPodKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} {
		key, proof, err := newKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(key)
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil || block.Type != "PRIVATE KEY" {
			t.Errorf("%s: %s %v", kind, block.Type, err)
		}
		if request, err := x509.ParseCertificateRequest(proof); err != nil || request.CheckSignature() != nil {
			t.Errorf("%s: the proof is no good: %v", kind, err)
		}
	}
	if _, _, err := newKey("DSA"); err == nil || err.Error() != `unknown key type "DSA"` {
		t.Errorf("an unknown type: %v", err)
	}
}
