// Package config is everything a user can set on skiff: one struct, its
// defaults and its checks. Flags and the configuration file are read in cmd;
// every other package gets the values it needs from there.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Defaults of the locations on a host.
const (
	DefaultFile       = "/etc/skiff/config.yaml"
	DefaultDataDir    = "/var/lib/skiff"
	DefaultKubeconfig = "/etc/skiff/kubeconfig"
)

// Config is what a server is started with. Each field is a flag and, by the
// same name, a key of the configuration file.
type Config struct {
	DataDir         string // everything that must survive a restart
	Kubeconfig      string // the admin kubeconfig that the server writes; "" writes none
	MergeKubeconfig bool   // also merge it into ~/.kube/config as context "skiff"

	BindAddress      string   // address the API listens on
	Port             int      // port the API listens on; 0 takes any free one
	AdvertiseAddress string   // address clients and pods reach the API at; "" is the node's
	TLSSANs          []string // further names and addresses in the serving certificate

	NodeName       string   // name of the node of this host; "" is the host name
	NodeIP         string   // address of the node; "" is found on the host
	NodeLabels     []string // KEY=VALUE labels of the node
	KubeletPort    int      // port of the kubelet's endpoint; 0 takes any free one
	NoNode         bool     // control plane alone: no containers, no root needed
	APIOnly        bool     // API alone: no controllers, no scheduler and, as with NoNode, no node
	SimulatedNodes int      // number of hollow nodes whose pods run instantly

	ClusterCIDR   string // pods' addresses
	ServiceCIDR   string // Services' addresses; an IPv4 range, or one and an IPv6 range behind a comma
	NodePorts     string // ports of NodePort Services, as 30000-32767
	ClusterDNS    string // address of the cluster DNS; "" is the tenth of ServiceCIDR
	ClusterDomain string // DNS domain of the cluster
	NodeNetwork   string // how pods of different nodes reach each other: "host-gw" or "vxlan"
	CNI           string // "bridge", or "none" to leave pod networking to an add-on

	EtcdServers []string // external etcd; empty runs one inside
	EtcdCAFile  string
	EtcdCert    string
	EtcdKey     string

	Authentication Authentication
	Authorization  Authorization
	Audit          Audit
	Encryption     Encryption
	Admission      Admission
	Limits         Limits
	Profiling      Profiling
	Autoscaling    Autoscaling
	Scheduling     Scheduling
	Ingress        Ingress
	LoadBalancer   bool // Services of type LoadBalancer get the node's addresses

	Verbosity int // klog verbosity
}

// Default answers the configuration of a server that is told nothing.
func Default() Config {
	return Config{
		DataDir:       DefaultDataDir,
		Kubeconfig:    DefaultKubeconfig,
		BindAddress:   "0.0.0.0",
		Port:          6443,
		KubeletPort:   10250,
		ClusterCIDR:   "10.244.0.0/16",
		ServiceCIDR:   "10.96.0.0/16",
		NodePorts:     "30000-32767",
		ClusterDomain: "cluster.local",
		CNI:           "bridge",
		NodeNetwork:   "host-gw",
		Audit:         DefaultAudit(),
		Limits:        DefaultLimits(),
		Profiling:     Profiling{Enabled: true},

		Authentication: DefaultAuthentication(),
		Authorization:  DefaultAuthorization(),
		Autoscaling:    DefaultAutoscaling(),
		Ingress:        DefaultIngress(),
		LoadBalancer:   true,
	}
}

// Error is a value that can't be used: which key, what is wrong with it, and
// what would be right. It prints as one line.
type Error struct{ Key, Problem, Remedy string }

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %s", e.Key, e.Problem, e.Remedy) }

// Validate reports the first value that can't be used, as an *Error. It looks
// at nothing outside c.
func (c *Config) Validate() error {
	for _, check := range []func() error{
		c.validatePaths, c.validateListen, c.validateNode, c.validateRanges, c.validateEtcd,
		c.validateAuthentication, c.validateAuthorization, c.validateAudit, c.validateEncryption, c.validateAdmission, c.validateLimits, c.validateProfiling,
		c.validateAutoscaling, c.validateScheduling, c.validateIngress,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validatePaths() error {
	if !filepath.IsAbs(c.DataDir) {
		return &Error{"data-dir", fmt.Sprintf("%q is not an absolute path", c.DataDir), "give a path that begins with /"}
	}
	if c.Kubeconfig != "" && !filepath.IsAbs(c.Kubeconfig) {
		return &Error{"kubeconfig", fmt.Sprintf("%q is not an absolute path", c.Kubeconfig), "give a path that begins with /"}
	}
	return nil
}

func (c *Config) validateListen() error {
	if err := address("bind-address", c.BindAddress, false); err != nil {
		return err
	}
	if err := address("advertise-address", c.AdvertiseAddress, true); err != nil {
		return err
	}
	for key, port := range map[string]int{"port": c.Port, "kubelet-port": c.KubeletPort} {
		if port < 0 || port > 65535 {
			return &Error{key, fmt.Sprintf("%d is not a port", port), "give a number from 1 to 65535, or 0 for any free port"}
		}
	}
	if c.Port != 0 && c.Port == c.KubeletPort && !c.NoNode {
		return &Error{"kubelet-port", fmt.Sprintf("%d is the port of the API", c.KubeletPort), "give the kubelet a port of its own, or 0 for any free port"}
	}
	return nil
}

func (c *Config) validateNode() error {
	if c.NodeName != "" {
		if problems := validation.IsDNS1123Subdomain(c.NodeName); len(problems) > 0 {
			return &Error{"node-name", fmt.Sprintf("%q is not a node name", c.NodeName), problems[0]}
		}
	}
	if err := address("node-ip", c.NodeIP, true); err != nil {
		return err
	}
	if err := c.validateLabels(); err != nil {
		return err
	}
	if c.SimulatedNodes < 0 {
		return &Error{"simulated-nodes", fmt.Sprintf("%d is negative", c.SimulatedNodes), "give how many hollow nodes to add, 0 for none"}
	}
	if c.SimulatedNodes > 0 && c.APIOnly {
		return &Error{"simulated-nodes", "nothing would place pods on them with api-only", "give no-node instead of api-only"}
	}
	if c.NodeNetwork != "host-gw" && c.NodeNetwork != "vxlan" {
		return &Error{"node-network", fmt.Sprintf("%q is not known", c.NodeNetwork), `use "host-gw" for nodes on one L2 segment, or "vxlan" for nodes behind routers`}
	}
	if c.CNI != "bridge" && c.CNI != "none" {
		return &Error{"cni", fmt.Sprintf("%q is not known", c.CNI), `use "bridge", or "none" to install a network add-on yourself`}
	}
	return nil
}

func (c *Config) validateRanges() error {
	pods, err := prefix("cluster-cidr", c.ClusterCIDR, 24)
	if err != nil {
		return err
	}
	services, err := c.validateServices()
	if err != nil {
		return err
	}
	if pods.Overlaps(services) {
		return &Error{"service-cidr", fmt.Sprintf("%s overlaps cluster-cidr %s", services, pods), "give pods and Services ranges of their own"}
	}
	if err := address("cluster-dns", c.ClusterDNS, true); err != nil {
		return err
	}
	if dns := c.DNSAddress(); !services.Contains(dns) {
		return &Error{"cluster-dns", fmt.Sprintf("%s is outside service-cidr %s", dns, services), "give an address inside it, or leave it out for the tenth"}
	}
	if problems := validation.IsDNS1123Subdomain(c.ClusterDomain); len(problems) > 0 {
		return &Error{"cluster-domain", fmt.Sprintf("%q is not a DNS domain", c.ClusterDomain), problems[0]}
	}
	return nil
}

// validateServices answers the first range of Services.
func (c *Config) validateServices() (netip.Prefix, error) {
	first, second, dual := strings.Cut(c.ServiceCIDR, ",")
	p, err := prefix("service-cidr", first, 28)
	if err != nil {
		return p, err
	}
	if dual {
		q, err := netip.ParsePrefix(second)
		if err != nil || q != q.Masked() || !q.Addr().Is6() || q.Bits() < 64 || q.Bits() > 124 {
			return p, &Error{"service-cidr", fmt.Sprintf("%q is no IPv6 range of Services", second), "give a second range such as fd00:10:96::/112, of /64 to /124"}
		}
	}
	ports, err := utilnet.ParsePortRange(c.NodePorts)
	if err != nil || ports.Size == 0 || ports.Base == 0 {
		return p, &Error{"service-node-port-range", fmt.Sprintf("%q is not a range of ports", c.NodePorts), "give one such as 30000-32767"}
	}
	return p, nil
}

func (c *Config) validateEtcd() error {
	for _, s := range c.EtcdServers {
		if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
			return &Error{"etcd-servers", fmt.Sprintf("%q is not a URL", s), "give addresses such as https://10.0.0.5:2379"}
		}
	}
	if (c.EtcdCert == "") != (c.EtcdKey == "") {
		return &Error{"etcd-certfile", "a certificate needs its key and a key its certificate", "give both etcd-certfile and etcd-keyfile, or neither"}
	}
	return nil
}

func address(key, value string, optional bool) error {
	if value == "" && optional {
		return nil
	}
	if _, err := netip.ParseAddr(value); err != nil {
		return &Error{key, fmt.Sprintf("%q is not an IP address", value), "give one such as 192.0.2.10"}
	}
	return nil
}

func prefix(key, value string, longest int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(value)
	if err != nil || p != p.Masked() {
		return netip.Prefix{}, &Error{key, fmt.Sprintf("%q is not a range of addresses", value), "give one such as 10.244.0.0/16, with no bits set behind the prefix"}
	}
	if !p.Addr().Is4() {
		return netip.Prefix{}, &Error{key, fmt.Sprintf("%s is not an IPv4 range", p), "give an IPv4 range such as 10.244.0.0/16"}
	}
	if p.Bits() > longest {
		return netip.Prefix{}, &Error{key, fmt.Sprintf("%s is too small", p), fmt.Sprintf("give a range of /%d or larger", longest)}
	}
	return p, nil
}

// PodRange answers ClusterCIDR. The configuration must be valid.
func (c *Config) PodRange() netip.Prefix { return netip.MustParsePrefix(c.ClusterCIDR) }

// ServiceRange answers the first range of ServiceCIDR. The configuration must
// be valid.
func (c *Config) ServiceRange() netip.Prefix { return c.ServiceRanges()[0] }

// ServiceRanges answers ServiceCIDR. The configuration must be valid.
func (c *Config) ServiceRanges() (out []netip.Prefix) {
	for text := range strings.SplitSeq(c.ServiceCIDR, ",") {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// NodePortRange answers NodePorts. The configuration must be valid.
func (c *Config) NodePortRange() utilnet.PortRange { return *utilnet.ParsePortRangeOrDie(c.NodePorts) }

// ServiceAddress answers the n-th address of the Service range; the API is at
// the first, the cluster DNS at the tenth.
func (c *Config) ServiceAddress(n int) netip.Addr {
	a := c.ServiceRange().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// DNSAddress answers the address of the cluster DNS.
func (c *Config) DNSAddress() netip.Addr {
	if c.ClusterDNS != "" {
		return netip.MustParseAddr(c.ClusterDNS)
	}
	return c.ServiceAddress(10)
}

// Instance names what a server makes on its host outside its data directory
// (bridge, link, table, cgroup, sockets): "skiff" for the default data
// directory, "skiff-" and six hexadecimal digits for any other, so that
// servers with different data directories don't meet.
func (c *Config) Instance() string {
	if filepath.Clean(c.DataDir) == DefaultDataDir {
		return "skiff"
	}
	sum := sha256.Sum256([]byte(filepath.Clean(c.DataDir)))
	return "skiff-" + hex.EncodeToString(sum[:3])
}

// CgroupParent names the cgroup that holds all pods.
func (c *Config) CgroupParent() string { return "kubepods-" + c.Instance() }

// DNSLink names the link that carries the cluster DNS address.
func (c *Config) DNSLink() string {
	_, id, _ := strings.Cut(c.Instance(), "-")
	return "skiffdns" + id
}

// TunnelLink names the link that carries packets between nodes with VXLAN.
func (c *Config) TunnelLink() string {
	_, id, _ := strings.Cut(c.Instance(), "-")
	return "skiffvx" + id
}

// PolicyTable names the nftables tables that hold network policies.
func (c *Config) PolicyTable() string { return c.Instance() + "-policy" }

// RunDir holds sockets and other state that ends with the host's uptime.
func (c *Config) RunDir() string { return filepath.Join("/run", c.Instance()) }

// Labels answers NodeLabels. The configuration must be valid.
func (c *Config) Labels() map[string]string {
	if len(c.NodeLabels) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, label := range c.NodeLabels {
		key, value, _ := strings.Cut(label, "=")
		out[key] = value
	}
	return out
}

// Node answers the node's name: NodeName, or the host's name in lower case.
func (c *Config) Node() (string, error) {
	if c.NodeName != "" {
		return c.NodeName, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding the host's name: %w", err)
	}
	host = strings.ToLower(host)
	if problems := validation.IsDNS1123Subdomain(host); len(problems) > 0 {
		return "", &Error{"node-name", fmt.Sprintf("the host's name %q can't name a node", host), "give a name with --node-name"}
	}
	return host, nil
}
