package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := c.DNSAddress().String(); got != "10.96.0.10" {
		t.Errorf("cluster DNS at %s", got)
	}
	if got := c.ServiceAddress(1).String(); got != "10.96.0.1" {
		t.Errorf("the API at %s", got)
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		key    string // of the error; "" means valid
	}{
		"relative data directory": {func(c *Config) { c.DataDir = "data" }, "data-dir"},
		"relative kubeconfig":     {func(c *Config) { c.Kubeconfig = "x" }, "kubeconfig"},
		"no kubeconfig":           {func(c *Config) { c.Kubeconfig = "" }, ""},
		"bind address":            {func(c *Config) { c.BindAddress = "localhost" }, "bind-address"},
		"IPv6 bind address":       {func(c *Config) { c.BindAddress = "::" }, ""},
		"port too high":           {func(c *Config) { c.Port = 65536 }, "port"},
		"negative kubelet port":   {func(c *Config) { c.KubeletPort = -1 }, "kubelet-port"},
		"any free ports":          {func(c *Config) { c.Port, c.KubeletPort = 0, 0 }, ""},
		"both ports the same":     {func(c *Config) { c.KubeletPort = c.Port }, "kubelet-port"},
		"same without a node":     {func(c *Config) { c.KubeletPort, c.NoNode = c.Port, true }, ""},
		"node name":               {func(c *Config) { c.NodeName = "Node_1" }, "node-name"},
		"node address":            {func(c *Config) { c.NodeIP = "1.2.3" }, "node-ip"},
		"hollow nodes":            {func(c *Config) { c.SimulatedNodes = -1 }, "simulated-nodes"},
		"hollow nodes alone":      {func(c *Config) { c.APIOnly, c.SimulatedNodes = true, 1 }, "simulated-nodes"},
		"CNI":                     {func(c *Config) { c.CNI = "flannel" }, "cni"},
		"node network":            {func(c *Config) { c.NodeNetwork = "magic" }, "node-network"},
		"VXLAN":                   {func(c *Config) { c.NodeNetwork = "vxlan" }, ""},
		"pod range with host bits": {
			func(c *Config) { c.ClusterCIDR = "10.244.0.1/16" }, "cluster-cidr",
		},
		"pod range too small":   {func(c *Config) { c.ClusterCIDR = "10.244.0.0/25" }, "cluster-cidr"},
		"IPv6 pod range":        {func(c *Config) { c.ClusterCIDR = "fd00::/48" }, "cluster-cidr"},
		"second range of IPv4":  {func(c *Config) { c.ServiceCIDR += ",10.97.0.0/16" }, "service-cidr"},
		"second range too wide": {func(c *Config) { c.ServiceCIDR += ",fd00::/48" }, "service-cidr"},
		"no node ports":         {func(c *Config) { c.NodePorts = "32767-30000" }, "service-node-port-range"},
		"overlapping ranges":    {func(c *Config) { c.ServiceCIDR = "10.244.128.0/20" }, "service-cidr"},
		"DNS outside Services":  {func(c *Config) { c.ClusterDNS = "10.97.0.10" }, "cluster-dns"},
		"domain":                {func(c *Config) { c.ClusterDomain = "cluster_local" }, "cluster-domain"},
		"etcd":                  {func(c *Config) { c.EtcdServers = []string{"host:2379"} }, "etcd-servers"},
		"etcd certificate":      {func(c *Config) { c.EtcdCert = "/x" }, "etcd-certfile"},
		"audit policy":          {func(c *Config) { c.Audit.PolicyFile = "x" }, "audit-policy-file"},
		"audit to stdout":       {func(c *Config) { c.Audit.Log.Path = "-" }, ""},
		"audit log":             {func(c *Config) { c.Audit.Log.Path = "x" }, "audit-log-path"},
		"audit files":           {func(c *Config) { c.Audit.Log.Path, c.Audit.Log.MaxBackups = "-", -1 }, "audit-log-maxbackup"},
		"audit format":          {func(c *Config) { c.Audit.Log.Path, c.Audit.Log.Format = "-", "xml" }, "audit-log-format"},
		"audit version":         {func(c *Config) { c.Audit.Log.Path, c.Audit.Log.Version = "-", "audit.k8s.io/v1beta1" }, "audit-log-version"},
		"audit mode": {
			func(c *Config) { c.Audit.Webhook.ConfigFile, c.Audit.Webhook.Delivery.Mode = "/x", "now" }, "audit-webhook-mode",
		},
		"audit batch": {
			func(c *Config) { c.Audit.Webhook.ConfigFile, c.Audit.Webhook.Delivery.Batch.ThrottleQPS = "/x", 0 }, "audit-webhook-batch-throttle-qps",
		},
		"audit batch of another mode": {
			func(c *Config) { c.Audit.Log.Path, c.Audit.Log.Delivery.Batch.BufferSize = "-", 0 }, "",
		},
		"audit truncation": {
			func(c *Config) { c.Audit.Log.Path, c.Audit.Log.Delivery.Truncate.MaxBatchBytes = "-", 1 }, "audit-log-truncate-max-batch-size",
		},
		"encryption":        {func(c *Config) { c.Encryption.ConfigFile = "x" }, "encryption-provider-config"},
		"nothing to reload": {func(c *Config) { c.Encryption.AutomaticReload = true }, "encryption-provider-config-automatic-reload"},
		"admission plugin":  {func(c *Config) { c.Admission.Enable = []string{"AlwaysHungry"} }, "enable-admission-plugins"},
		"no such plugin":    {func(c *Config) { c.Admission.Disable = []string{"limitranger"} }, "disable-admission-plugins"},
		"on and off": {func(c *Config) {
			c.Admission.Enable, c.Admission.Disable = []string{"PodSecurity"}, []string{"PodSecurity"}
		}, "disable-admission-plugins"},
		"gated plugin":   {func(c *Config) { c.Admission.Disable = []string{"PodGroupProtection"} }, ""},
		"plugin off":     {func(c *Config) { c.Admission.Disable = []string{"ResourceQuota"} }, ""},
		"admission file": {func(c *Config) { c.Admission.ConfigFile = "x" }, "admission-control-config-file"},
		"limit":          {func(c *Config) { c.Limits.MaxRequests = -1 }, "max-requests-inflight"},
		"no seats":       {func(c *Config) { c.Limits.MaxRequests, c.Limits.MaxMutatingRequests = 0, 0 }, "max-requests-inflight"},
		"no limits":      {func(c *Config) { c.Limits.MaxRequests, c.Limits.MaxMutatingRequests, c.Limits.Fairness = 0, 0, false }, ""},
		"timeout":        {func(c *Config) { c.Limits.RequestTimeout = 0 }, "request-timeout"},
		"no period":      {func(c *Config) { c.Autoscaling.Period = 0 }, "horizontal-pod-autoscaler-sync-period"},
		"stabilization":  {func(c *Config) { c.Autoscaling.Stabilization = -1 }, "horizontal-pod-autoscaler-downscale-stabilization"},
		"initialization": {func(c *Config) { c.Autoscaling.CPUInitialization = -1 }, "horizontal-pod-autoscaler-cpu-initialization-period"},
		"readiness":      {func(c *Config) { c.Autoscaling.InitialReadiness = -1 }, "horizontal-pod-autoscaler-initial-readiness-delay"},
		"scheduler file": {func(c *Config) { c.Scheduling.ConfigFile = "x" }, "scheduler-config"},
		"scheduler":      {func(c *Config) { c.Scheduling.ConfigFile = "/x" }, ""},
		"no scheduler":   {func(c *Config) { c.Scheduling.ConfigFile, c.APIOnly, c.NoNode = "/x", true, true }, "scheduler-config"},
		"tolerance":      {func(c *Config) { c.Autoscaling.Tolerance = -1 }, "horizontal-pod-autoscaler-tolerance"},
		"chance":         {func(c *Config) { c.Limits.GoawayChance = 0.5 }, "goaway-chance"},
		"watch grace":    {func(c *Config) { c.Limits.ShutdownWatchGrace = -1 }, "shutdown-watch-termination-grace-period"},
		"debug socket":   {func(c *Config) { c.Profiling.Socket = "x" }, "debug-socket-path"},
		"no socket":      {func(c *Config) { c.Profiling.Socket = "/proc/version" }, "debug-socket-path"},
		"grace":          {func(c *Config) { c.Limits.LivezGracePeriod = -1 }, "livez-grace-period"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := Default()
			tc.change(&c)
			err := c.Validate()
			if tc.key == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if e := (*Error)(nil); !errors.As(err, &e) || e.Key != tc.key || e.Remedy == "" {
				t.Errorf("got %v, want an error about %s", err, tc.key)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than a line", err)
			}
		})
	}
}

func TestInstanceFollowsTheDataDirectory(t *testing.T) {
	a, b := Default(), Default()
	if a.Instance() != "skiff" {
		t.Errorf("default instance is %q", a.Instance())
	}
	a.DataDir, b.DataDir = "/tmp/a", "/tmp/b"
	if a.Instance() == b.Instance() {
		t.Error("two data directories share an instance")
	}
	if len(a.Instance()) > 15 {
		t.Errorf("%q can't name a link", a.Instance())
	}
	b.DataDir = "/tmp//a/"
	if a.Instance() != b.Instance() {
		t.Error("two spellings of a directory are two instances")
	}
}

func TestDataDir(t *testing.T) {
	c := Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	if err := c.CheckDataDir(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.DataDir); !os.IsNotExist(err) {
		t.Error("checking made the directory")
	}
	if pid, err := c.ServerPID(); pid != 0 || err != nil {
		t.Errorf("server %d, %v before the first start", pid, err)
	}
	unlock, err := c.LockDataDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.LockDataDir(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second lock: %v", err)
	}
	if pid, err := c.ServerPID(); pid != os.Getpid() || err != nil {
		t.Errorf("server is %d, %v; want %d", pid, err, os.Getpid())
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if pid, err := c.ServerPID(); pid != 0 || err != nil {
		t.Errorf("server %d, %v after the end", pid, err)
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, formatFile), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckDataDir(); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer format: %v", err)
	}
}

func TestGitVersionIsSemantic(t *testing.T) {
	if v := GitVersion(); !regexp.MustCompile(`^v1\.37\.2\+skiff\.[0-9A-Za-z.-]+$`).MatchString(v) {
		t.Errorf("version %q", v)
	}
}
