// Package sides runs what a benchmark compares: skiff on one side, Kubernetes'
// own programs as kubeadm configures them on the other, both on loopback.
package sides

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"skiff/config/pki"
	"skiff/test/cluster"
)

const (
	readyTimeout = time.Minute
	readyPoll    = 5 * time.Millisecond
	// advertised is in the kubernetes Service; nobody connects to it. kube-apiserver refuses a loopback address.
	advertised = "192.0.2.10"
)

// Side is a running API server with its store.
type Side struct {
	Name  string
	Ready time.Duration // from the start of its first process to /readyz

	// Kubeconfig is the administrator's, PKI the directory of keys; only skiff has them.
	Kubeconfig, PKI string

	config    func() (*rest.Config, error)
	processes []*exec.Cmd
	logs      []string
}

// Skiff starts bin/skiff on an empty data directory with the flags given.
func Skiff(t testing.TB, flags ...string) *Side {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	s := &Side{Name: "skiff", Kubeconfig: kubeconfig, PKI: filepath.Join(dir, "data", "pki"), logs: []string{filepath.Join(dir, "server.log")}}
	s.config = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	began := time.Now()
	args := append([]string{
		"server", "--config=/dev/null", "--data-dir=" + filepath.Join(dir, "data"), "--kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--advertise-address=" + advertised, "--port=0",
	}, flags...)
	s.processes = []*exec.Cmd{launch(t, s.logs[0], cluster.Binary(t, "bin/skiff"), args...)}
	t.Cleanup(func() { s.Stop(t) })
	s.await(t, began)
	return s
}

// Upstream starts etcd and kube-apiserver on an empty data directory with the
// flags that kubeadm gives them. The certificates are there before it begins.
func Upstream(t testing.TB) *Side {
	t.Helper()
	dir := t.TempDir()
	local := netip.MustParseAddr("127.0.0.1")
	files, err := pki.Load(pki.Config{Dir: filepath.Join(dir, "pki"), Addresses: []netip.Addr{local}})
	if err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 4)
	url := "https://127.0.0.1:" + ports[0]
	s := &Side{Name: "upstream", logs: []string{filepath.Join(dir, "etcd.log"), filepath.Join(dir, "kube-apiserver.log")}}
	s.config = func() (*rest.Config, error) {
		return &rest.Config{Host: url, TLSClientConfig: rest.TLSClientConfig{
			CAFile: files.File("ca.crt"), CertFile: files.File("admin.crt"), KeyFile: files.File("admin.key"),
		}}, nil
	}
	began := time.Now()
	s.processes = []*exec.Cmd{
		launch(t, s.logs[0], cluster.Binary(t, "build/bench/etcd"), etcdFlags(files, filepath.Join(dir, "etcd"), ports[1:])...),
		launch(t, s.logs[1], cluster.Binary(t, "build/bench/kube-apiserver"), apiserverFlags(files, ports[0], ports[1])...),
	}
	t.Cleanup(func() { s.Stop(t) })
	s.await(t, began)
	return s
}

// await returns when /readyz says ok.
func (s *Side) await(t testing.TB, began time.Time) {
	t.Helper()
	var last error
	for deadline := began.Add(readyTimeout); time.Now().Before(deadline); time.Sleep(readyPoll) {
		if last = s.ready(t.Context()); last == nil {
			s.Ready = time.Since(began)
			return
		}
	}
	t.Fatalf("%s is not ready after %s: %v\n%s", s.Name, readyTimeout, last, s.lastWords())
}

// lastWords are the ends of the logs.
func (s *Side) lastWords() string {
	var b strings.Builder
	for _, log := range s.logs {
		raw, err := os.ReadFile(log)
		fmt.Fprintf(&b, "%s (%v): ...%s\n", filepath.Base(log), err, raw[max(0, len(raw)-1500):])
	}
	return b.String()
}

func (s *Side) ready(ctx context.Context) error {
	config, err := s.Config()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer closeIdle(client)
	code := 0
	err = client.RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code).Error()
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("/readyz answers %d", code)
	}
	return err
}

func closeIdle(c *kubernetes.Clientset) {
	if r, ok := c.RESTClient().(*rest.RESTClient); ok {
		r.Client.CloseIdleConnections()
	}
}

// Config answers an administrator's client configuration with a connection of
// its own and no limit of its own.
func (s *Side) Config() (*rest.Config, error) {
	config, err := s.config()
	if err != nil {
		return nil, fmt.Errorf("reading the client configuration: %w", err)
	}
	config.QPS = -1
	config.Dial = new(net.Dialer).DialContext // keeps client-go from sharing the connection
	return config, nil
}

// CPU is the time that all processes of the side have used.
func (s *Side) CPU(t testing.TB) time.Duration {
	t.Helper()
	var sum time.Duration
	for _, p := range s.processes {
		used, err := CPU(p.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		sum += used
	}
	return sum
}

// RSS is the resident memory of all processes of the side in MB.
func (s *Side) RSS(t testing.TB) float64 {
	t.Helper()
	var sum float64
	for _, p := range s.processes {
		used, err := RSS(p.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		sum += used
	}
	return sum
}

// Stop ends the processes, the last one started first. A second call does nothing.
func (s *Side) Stop(t testing.TB) {
	t.Helper()
	processes := s.processes
	s.processes = nil
	for i := len(processes) - 1; i >= 0; i-- {
		stop(t, processes[i])
	}
}

// stop asks a process to end and waits for it.
func stop(t testing.TB, p *exec.Cmd) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", p.Path, err)
	}
}

// freePorts answers ports that nothing listened on a moment ago.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, port)
	}
	return out
}
