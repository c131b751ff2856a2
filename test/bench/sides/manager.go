package sides

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"skiff/test/cluster"
)

// Manager is a process with controllers.
type Manager struct {
	process *exec.Cmd
	log     string
}

// SkiffManager runs skiff's controllers against an API server of skiff; args are added to those of the program.
func SkiffManager(t testing.TB, api *Side, args ...string) *Manager {
	t.Helper()
	m := &Manager{log: filepath.Join(t.TempDir(), "manager.log")}
	m.process = launch(t, m.log, cluster.Binary(t, "build/bench/manager"), append([]string{api.Kubeconfig, api.PKI}, args...)...)
	return m
}

// UpstreamManager runs kube-controller-manager as kubeadm does against an API server of skiff, with flags of its own.
func UpstreamManager(t testing.TB, api *Side, flags ...string) *Manager {
	t.Helper()
	m := &Manager{log: filepath.Join(t.TempDir(), "manager.log")}
	m.process = launch(t, m.log, cluster.Binary(t, "build/bench/kube-controller-manager"), append(managerFlags(api, freePorts(t, 1)[0]), flags...)...)
	return m
}

// CPU is the time that the process has used.
func (m *Manager) CPU(t testing.TB) time.Duration {
	t.Helper()
	used, err := CPU(m.process.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// RSS is the process's resident memory in MB.
func (m *Manager) RSS(t testing.TB) float64 {
	t.Helper()
	used, err := RSS(m.process.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// Stop ends the process. A second call does nothing.
func (m *Manager) Stop(t testing.TB) {
	t.Helper()
	if m.process != nil {
		stop(t, m.process)
	}
	m.process = nil
}
