package sides

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"skiff/config/pki"
	"skiff/test/cluster"
)

// Program is a component of the control plane in a process of its own.
type Program struct {
	process *exec.Cmd
	log     string
}

// SkiffManager runs skiff's controllers against an API server of skiff; args are added to those of the program.
func SkiffManager(t testing.TB, api *Side, args ...string) *Program {
	t.Helper()
	return run(t, "build/bench/manager", append([]string{api.Kubeconfig, api.PKI}, args...)...)
}

// UpstreamManager runs kube-controller-manager as kubeadm does against an API server of skiff, with flags of its own.
func UpstreamManager(t testing.TB, api *Side, flags ...string) *Program {
	t.Helper()
	return run(t, "build/bench/kube-controller-manager", append(managerFlags(api, freePorts(t, 1)[0]), flags...)...)
}

// SkiffScheduler runs skiff's scheduler against an API server of skiff; args are added to those of the program.
func SkiffScheduler(t testing.TB, api *Side, args ...string) *Program {
	t.Helper()
	return run(t, "build/bench/scheduler", append([]string{schedulerKubeconfig(t, api)}, args...)...)
}

// UpstreamScheduler runs kube-scheduler as kubeadm does against an API server of skiff, with flags of its own.
func UpstreamScheduler(t testing.TB, api *Side, flags ...string) *Program {
	t.Helper()
	kubeconfig := schedulerKubeconfig(t, api)
	return run(t, "build/bench/kube-scheduler", append(schedulerFlags(kubeconfig, freePorts(t, 1)[0]), flags...)...)
}

func run(t testing.TB, binary string, args ...string) *Program {
	t.Helper()
	p := &Program{log: filepath.Join(t.TempDir(), filepath.Base(binary)+".log")}
	p.process = launch(t, p.log, cluster.Binary(t, binary), args...)
	return p
}

// schedulerKubeconfig writes the file with which a scheduler speaks under its own name.
func schedulerKubeconfig(t testing.TB, api *Side) string {
	t.Helper()
	admin, err := clientcmd.LoadFromFile(api.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	files, err := pki.Load(pki.Config{Dir: api.PKI, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := files.Issue("system:kube-scheduler")
	if err != nil {
		t.Fatal(err)
	}
	for name := range admin.AuthInfos {
		admin.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	}
	path := filepath.Join(t.TempDir(), "scheduler.conf")
	if err := clientcmd.WriteToFile(*admin, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// LogFile is where the program's log is written.
func (p *Program) LogFile() string { return p.log }

// Log is what the program has said so far.
func (p *Program) Log(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// CPU is the time that the process has used.
func (p *Program) CPU(t testing.TB) time.Duration {
	t.Helper()
	used, err := CPU(p.process.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// RSS is the process's resident memory in MB.
func (p *Program) RSS(t testing.TB) float64 {
	t.Helper()
	used, err := RSS(p.process.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// Stop ends the process. A second call does nothing.
func (p *Program) Stop(t testing.TB) {
	t.Helper()
	if p.process != nil {
		stop(t, p.process)
	}
	p.process = nil
}
