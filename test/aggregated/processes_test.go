package aggregated

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"

	"skiff/test/cluster"
	"skiff/test/env"
	"skiff/test/rawapi"
)

// freePort is one that nobody listened on a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs a program until stop is called or the test ends; its output is
// shown when the test fails.
func start(t *testing.T, path string, args ...string) (stop func()) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			out, _ := os.ReadFile(log.Name())
			t.Logf("%s: %s", filepath.Base(path), out[max(0, len(out)-4000):])
		}
	})
	return stop
}

// startEtcd answers the URL of an empty etcd.
func startEtcd(t *testing.T) string {
	t.Helper()
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	start(t, cluster.Binary(t, "build/bench/etcd"), "--data-dir", t.TempDir(), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	return client
}

// sample is the sample API server.
type sample struct {
	t         *testing.T
	port      int
	args      []string
	authority []byte // verifies it as api.wardle.svc
	stop      func()
}

// newSample runs the sample API server as the service account of the manifests.
func newSample(t *testing.T, s *env.Server) *sample {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public, key, err := cert.GenerateSelfSignedCertKey("api.wardle.svc", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: s.URL(), CertificateAuthorityData: s.PKI.CA()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token(t, s, "wardle", "apiserver")}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "c",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	out := &sample{t: t, port: freePort(t), authority: public}
	out.args = []string{
		"--etcd-servers", startEtcd(t), "--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(out.port),
		"--tls-cert-file", file("tls.crt", public), "--tls-private-key-file", file("tls.key", key),
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--authorization-webhook-cache-unauthorized-ttl", "1ms",
	}
	out.start()
	return out
}

func (p *sample) start() {
	p.t.Helper()
	p.stop = start(p.t, cluster.Binary(p.t, "build/clients/sample-apiserver"), p.args...)
	rawapi.Eventually(p.t, "the sample API server is ready", func() (bool, string) {
		res, err := p.direct("").Send(p.t.Context(), "GET", "/readyz", "")
		if err != nil {
			return false, err.Error()
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK, res.Status
	})
}

// direct is a client that speaks with the sample API server itself.
func (p *sample) direct(bearer string) *rawapi.API {
	return rawapi.New(p.t, &rest.Config{Host: fmt.Sprintf("https://127.0.0.1:%d", p.port), BearerToken: bearer, TLSClientConfig: rest.TLSClientConfig{CAData: p.authority}})
}

func token(t *testing.T, s *env.Server, ns, account string) string {
	t.Helper()
	r, err := kubernetes.NewForConfigOrDie(s.Admin()).CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

// manifest is a file of the sample API server's own examples.
func manifest(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/sample-apiserver")
	cmd.Dir = "programs/sample-apiserver"
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "artifacts", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func newCertificate(t *testing.T) []byte {
	t.Helper()
	public, _, err := cert.GenerateSelfSignedCertKey("api.wardle.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return public
}
