package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
)

// TestMain allows for what an API server leaves behind: a health check's goroutine, and requests' timers of seconds.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.Forever"),
		goleak.IgnoreTopFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshLocked.func2"))
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func (a *authority) issue(t *testing.T, serial int64, subject pkix.Name, usage x509.ExtKeyUsage) (cert, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}

// shell is a container runtime that streams: commands echo what they are given.
type shell struct{ *httptest.Server }

func (s *shell) Exec(_ context.Context, id string, command []string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	if errOut != nil {
		if _, err := fmt.Fprintf(errOut, "%s: %s", id, strings.Join(command, " ")); err != nil {
			return err
		}
	}
	if in == nil || out == nil {
		return nil
	}
	_, err := io.Copy(out, in)
	return err
}

func (s *shell) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return s.Exec(ctx, id, []string{"attached"}, in, out, errOut, tty, resize)
}

func (s *shell) PortForward(_ context.Context, sandbox string, port int32, stream io.ReadWriteCloser) error {
	if _, err := fmt.Fprintf(stream, "%s:%d ", sandbox, port); err != nil {
		return err
	}
	_, err := io.Copy(stream, io.LimitReader(stream, 4))
	return err
}

// node is everything behind a server under test.
type node struct {
	t       *testing.T
	server  *Server
	ca      *authority
	dir     string
	address string
	client  *fake.Clientset
	allow   func(authorizationv1.SubjectAccessReviewSpec) bool
	reviews atomic.Int64
	streams streaming.Server
	stop    func()

	logPath string
	running atomic.Bool
	pod     *corev1.Pod
	healthy error
}

func (n *node) Pods() []*corev1.Pod { return []*corev1.Pod{n.pod} }

func (n *node) Pod(namespace, name string) (*corev1.Pod, bool) {
	return n.pod, namespace == n.pod.Namespace && name == n.pod.Name
}

func (n *node) Exec(_ context.Context, target StreamTarget, command []string, o StreamOptions) (*url.URL, error) {
	answer, err := n.streams.GetExec(&runtimeapi.ExecRequest{
		ContainerId: target.Container, Cmd: command, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (n *node) Attach(_ context.Context, target StreamTarget, o StreamOptions) (*url.URL, error) {
	answer, err := n.streams.GetAttach(&runtimeapi.AttachRequest{
		ContainerId: target.Container, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (n *node) PortForward(_ context.Context, _, pod string, ports []int32) (*url.URL, error) {
	answer, err := n.streams.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: pod, Port: ports})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (n *node) RunInContainer(_ context.Context, target StreamTarget, command []string) ([]byte, error) {
	return []byte(target.Container + " ran " + strings.Join(command, ",")), nil
}

func (n *node) ContainerLog(context.Context, StreamTarget, bool) (string, func() bool, error) {
	return n.logPath, n.running.Load, nil
}

func (n *node) Summary(context.Context) (*statsapi.Summary, error) {
	now := metav1.NewTime(time.UnixMilli(1_700_000_000_000))
	cpu := &statsapi.CPUStats{Time: now, UsageCoreNanoSeconds: ptr.To[uint64](2_500_000_000)}
	memory := &statsapi.MemoryStats{Time: now, WorkingSetBytes: ptr.To[uint64](1024), AvailableBytes: ptr.To[uint64](1024)}
	return &statsapi.Summary{
		Node: statsapi.NodeStats{NodeName: "node-1", CPU: cpu, Memory: memory, Fs: &statsapi.FsStats{}},
		Pods: []statsapi.PodStats{{
			PodRef: statsapi.PodReference{Namespace: "shop", Name: "web", UID: "u-1"}, CPU: cpu, Memory: memory,
			Network:    &statsapi.NetworkStats{Time: now, Interfaces: []statsapi.InterfaceStats{{Name: "eth0", RxBytes: ptr.To[uint64](7)}}},
			Containers: []statsapi.ContainerStats{{Name: "main", CPU: cpu, Memory: memory, StartTime: now}},
		}},
	}, nil
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, ca: newAuthority(t), dir: t.TempDir(), client: fake.NewClientset()}
	n.allow = func(authorizationv1.SubjectAccessReviewSpec) bool { return true }
	n.running.Store(true)
	n.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u-1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}, {Name: "slow"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			{Name: "slow", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}},
		}},
	}
	n.logPath = filepath.Join(n.dir, "0.log")
	n.reactions()
	n.stream()
	n.writeServing(2)
	n.start()
	return n
}

// reactions make the fake API review tokens ("good-NAME" is valid) and access.
func (n *node) reactions() {
	n.client.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		n.reviews.Add(1)
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		name, ok := strings.CutPrefix(review.Spec.Token, "good-")
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: ok, User: authenticationv1.UserInfo{Username: name, Groups: []string{"system:authenticated"}}}
		return true, review, nil
	})
	n.client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		n.reviews.Add(1)
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = n.allow(review.Spec)
		return true, review, nil
	})
}

func (n *node) stream() {
	s := &shell{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			http.Error(w, "the runtime was sent a token", http.StatusBadRequest)
			return
		}
		n.streams.ServeHTTP(w, r)
	}))
	n.t.Cleanup(s.Close)
	base, err := url.Parse(s.URL + "/")
	if err != nil {
		n.t.Fatal(err)
	}
	config := streaming.DefaultConfig
	config.BaseURL = base
	if n.streams, err = streaming.NewServer(config, s); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) file(name string) string { return filepath.Join(n.dir, name) }

// writeServing writes the serving certificate with a serial number to know it by.
func (n *node) writeServing(serial int64) {
	n.t.Helper()
	cert, key := n.ca.issue(n.t, serial, pkix.Name{CommonName: "node-1"}, x509.ExtKeyUsageServerAuth)
	for name, data := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": n.ca.pem} {
		if err := os.WriteFile(n.file(name), data, 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) start() {
	t := n.t
	files, err := NewFiles(n.file("tls.crt"), n.file("tls.key"), n.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	n.server, err = New(Config{Address: "127.0.0.1:0", NodeName: "node-1", Configz: map[string]string{"kind": "KubeletConfiguration"}, Version: "v1"}, Deps{
		Client: n.client, Credentials: files, Pods: n, Streams: n, Logs: n, Stats: n, Healthy: func() error { return n.healthy },
	})
	if err != nil {
		t.Fatal(err)
	}
	port, err := n.server.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.address = fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.server.Run(ctx) }()
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	}
	t.Cleanup(n.stop)
}

// config is a client's configuration: with a certificate for user and groups, or with a token.
func (n *node) config(user string, groups ...string) *rest.Config {
	n.t.Helper()
	config := &rest.Config{Host: "https://" + n.address, TLSClientConfig: rest.TLSClientConfig{CAData: n.ca.pem}}
	if token, ok := strings.CutPrefix(user, "token:"); ok {
		config.BearerToken = token
		return config
	}
	if user != "" {
		config.CertData, config.KeyData = n.ca.issue(n.t, 100, pkix.Name{CommonName: user, Organization: groups}, x509.ExtKeyUsageClientAuth)
	}
	return config
}

// get answers the code and body of a path.
func (n *node) get(config *rest.Config, path string) (code int, body string) {
	n.t.Helper()
	return n.do(config, http.MethodGet, path)
}

func (n *node) do(config *rest.Config, method, path string) (code int, body string) {
	n.t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		n.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(n.t.Context(), method, config.Host+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// servedSerial is the serial number of the certificate the server shows.
func (n *node) servedSerial() int64 {
	n.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(n.ca.cert)
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(n.t.Context(), "tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func contains(list []string, wanted string) bool { return slices.Contains(list, wanted) }
