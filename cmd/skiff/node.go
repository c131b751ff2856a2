package main

import (
	"context"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"skiff/config"
	"skiff/ingress"
	ingressproxy "skiff/ingress/proxy"
	"skiff/kubelet"
	"skiff/kubelet/bundle"
	"skiff/kubelet/containerd"
	"skiff/kubelet/cri"
	"skiff/kubelet/csi"
	"skiff/kubelet/dns"
	"skiff/kubelet/env"
	"skiff/kubelet/loadbalancer"
	"skiff/kubelet/localpath"
	"skiff/kubelet/network"
	"skiff/kubelet/node"
	"skiff/kubelet/plugins"
	"skiff/kubelet/pod"
	"skiff/kubelet/policy"
	"skiff/kubelet/proxy"
	"skiff/kubelet/server"
	"skiff/kubelet/stats"
	"skiff/kubelet/volumes"
)

// runtimeParts is the container runtime and the connection to it.
type runtimeParts struct {
	containerd *containerd.Server
	cri        *cri.Client
}

func runtimeSocket(cfg *config.Config) string { return filepath.Join(cfg.RunDir(), "containerd.sock") }

func newRuntime(h *host) (*runtimeParts, error) {
	programs, err := bundle.Extract(filepath.Join(h.DataDir, "bin"))
	if err != nil {
		return nil, err
	}
	plugins := programs
	if h.CNI == "none" {
		plugins = "/opt/cni/bin"
	}
	r := &runtimeParts{}
	r.containerd, err = containerd.New(containerd.Config{
		Root: filepath.Join(h.DataDir, "containerd"), State: filepath.Join(h.RunDir(), "c"), Socket: runtimeSocket(h.Config),
		BinDir: programs, CNIBinDir: plugins, CNIConfDir: h.cniConfDir(),
		PauseImage: bundle.PauseReference, PauseArchive: filepath.Join(programs, bundle.PauseArchive),
		RegistryConfigDir: filepath.Join(h.DataDir, "registries"),
	})
	if err != nil {
		return nil, building("container runtime", err)
	}
	if r.cri, err = cri.New(runtimeSocket(h.Config)); err != nil {
		return nil, building("connection to the container runtime", err)
	}
	return r, nil
}

// nodeParts is the node: its agent, its endpoint and its network.
type nodeParts struct {
	host     *host
	events   record.EventBroadcaster
	reporter *node.Reporter
	kubelet  *kubelet.Kubelet
	volumes  *volumes.Manager
	drivers  *csi.Drivers
	plugins  *plugins.Watcher
	local    *localpath.Provisioner
	server   *server.Server
	proxy    *proxy.Proxy
	peers    *network.Peers   // nil when an add-on does the networking
	policy   *policy.Enforcer // nil when an add-on does the networking
	dns      *dns.Server
	ingress  *ingress.Ingress       // nil when it is off
	balancer *loadbalancer.Balancer // nil when it is off
}

// nodeAccess is how the parts of a node reach the API, and its clients it.
type nodeAccess struct {
	kubelet kubernetes.Interface // as the node
	storage kubernetes.Interface // as what provisions volumes on its disk
	// own holds what the kubelet may see: its pods and what they name. cluster holds Services, policies, pods and
	// volumes of all nodes. In a server both are the process's one cache.
	own, cluster informers.SharedInformerFactory
	credentials  server.Credentials // of the kubelet's endpoint
}

// nodeAccess gives the server's node its parts' identities.
func (c *controlPlane) nodeAccess(h *host) (a nodeAccess, err error) {
	a.own, a.cluster = c.informers, c.informers
	if a.kubelet, err = c.client("system:node:"+h.node, "system:nodes"); err != nil {
		return a, err
	}
	if a.storage, err = c.client(localpath.Account, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"); err != nil {
		return a, err
	}
	a.credentials, err = server.NewFiles(h.pki.File("kubelet.crt"), h.pki.File("kubelet.key"), h.pki.File("ca.crt"))
	if err != nil {
		return a, building("kubelet's endpoint", err)
	}
	return a, nil
}

func newNode(ctx context.Context, h *host, a nodeAccess, r *runtimeParts) (*nodeParts, error) {
	var err error
	client := a.kubelet
	root := filepath.Join(h.DataDir, "kubelet")
	n := &nodeParts{host: h, events: record.NewBroadcaster(record.WithContext(ctx))}
	n.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	recorder := n.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: h.node})
	allocatable := func() corev1.ResourceList { return n.reporter.Allocatable() }

	n.drivers = csi.New(csi.Config{NodeName: h.node}, csi.Deps{Client: client, Changed: func() { n.volumes.DriversChanged() }})
	n.plugins, err = plugins.New(plugins.Config{Root: root}, map[string]plugins.Handler{registerapi.CSIPlugin: n.drivers})
	if err != nil {
		return nil, building("plugins", err)
	}
	if h.CNI != "none" {
		if n.peers, err = network.NewPeers(h.peers(), network.PeersDeps{Informers: a.cluster, Events: recorder}); err != nil {
			return nil, building("network between nodes", err)
		}
	}
	n.volumes, err = volumes.New(volumes.Config{Root: root}, volumes.Deps{
		Client: client, Informers: a.own, Allocatable: allocatable, Events: recorder, Drivers: n.drivers,
		Wake: func(uid types.UID) { n.kubelet.Wake(uid) }, InUse: func() { n.reporter.Poke() },
	})
	if err != nil {
		return nil, building("volumes", err)
	}
	judge, err := n.policies(a)
	if err != nil {
		return nil, err
	}
	n.kubelet, err = kubelet.New(kubelet.Config{
		NodeName: h.node, NodeIPs: texts(h.addresses), Root: root, LogDir: filepath.Join(h.DataDir, "logs"), CgroupRoot: "/" + h.CgroupParent(),
		ClusterDNS: []string{h.DNSAddress().String()}, ClusterDomain: h.ClusterDomain, PauseImage: bundle.PauseReference,
	}, kubelet.Deps{
		Client: client, Informers: a.own, Runtime: r.cri, Volumes: n.volumes, Network: judge,
		Environment: env.New(env.Deps{Client: client, Informers: a.own, Allocatable: allocatable, VolumePath: n.volumes.Path, Events: recorder}),
	})
	if err != nil {
		return nil, building("kubelet", err)
	}
	statistics, err := stats.New(stats.Config{NodeName: h.node, Root: root}, r.cri, n.kubelet, n.volumes)
	if err != nil {
		return nil, building("statistics", err)
	}
	n.server, err = server.New(server.Config{
		Listener: h.ports.kubelet, NodeName: h.node, Version: config.GitVersion(),
	}, server.Deps{
		Client: client, Credentials: a.credentials, Pods: n.kubelet, Streams: n.kubelet, Logs: n.kubelet, Stats: statistics, Volumes: n.volumes, Settled: n.kubelet.Ready(),
	})
	if err != nil {
		return nil, building("kubelet's endpoint", err)
	}
	port, err := n.server.Listen(ctx)
	if err != nil {
		return nil, building("kubelet's endpoint", err)
	}
	n.reporter, err = node.New(node.Config{
		Name: h.node, IPs: h.addresses, Port: port, Version: config.GitVersion(), Root: h.DataDir, Labels: h.Labels(),
	}, node.Deps{
		Client: client, Informers: a.own, Runtime: r.cri, Images: r.cri, Events: recorder,
		Pressure: func() node.Pressure { return node.Pressure(n.kubelet.Pressure()) }, VolumesInUse: n.volumes.VolumesInUse,
	})
	if err != nil {
		return nil, building("node", err)
	}
	if err := n.localVolumes(a); err != nil {
		return nil, err
	}
	return n, n.services(a)
}

// exposed builds what only the server's node has: what serves Ingresses, and what gives Services its addresses.
func (n *nodeParts) exposed(c *controlPlane) error {
	if err := n.ingresses(c); err != nil {
		return err
	}
	return n.balance(c)
}

// ingresses builds what serves Ingresses.
func (n *nodeParts) ingresses(c *controlPlane) error {
	h := n.host
	if !h.ServesIngress() {
		return nil
	}
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}
	client, err := c.client(ingress.Account, groups...)
	if err != nil {
		return err
	}
	customs, err := dynamic.NewForConfig(c.loopback.Config(ingress.Account, groups...))
	if err != nil {
		return building("client of "+ingress.Account, err)
	}
	requests := ingressproxy.Default()
	requests.BodyLimit, requests.AccessLog, requests.HTTPSPort = h.IngressBodyLimit(), h.Ingress.AccessLog, h.Ingress.HTTPSPort
	n.ingress, err = ingress.New(ingress.Config{
		Addresses: h.addresses, Host: h.IngressHost(), Proxy: requests,
		HTTP:  ingress.Port{Number: h.Ingress.HTTPPort, Listener: h.ports.http, Flag: "ingress-http-port"},
		HTTPS: ingress.Port{Number: h.Ingress.HTTPSPort, Listener: h.ports.https, Flag: "ingress-https-port"},
	}, ingress.Deps{
		Client: client, Dynamic: customs, Informers: c.informers, Metrics: served{},
		Events: n.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: ingress.Component, Host: h.node}),
	})
	if err != nil {
		return building("ingress", err)
	}
	return nil
}

// balance builds what gives Services the node's addresses.
func (n *nodeParts) balance(c *controlPlane) error {
	if !n.host.balances() {
		return nil
	}
	client, err := c.client(loadbalancer.Account, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
	if err != nil {
		return err
	}
	n.balancer, err = loadbalancer.New(loadbalancer.Config{Node: n.host.node, Addresses: n.host.addresses}, loadbalancer.Deps{
		Client: client, Informers: c.informers,
		Events: n.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: loadbalancer.Component, Host: n.host.node}),
	})
	if err != nil {
		return building("load balancer", err)
	}
	return nil
}

// localVolumes builds what provisions volumes from the node's disk.
func (n *nodeParts) localVolumes(a nodeAccess) error {
	var err error
	n.local, err = localpath.New(localpath.Config{Node: n.host.node, Root: filepath.Join(n.host.DataDir, "volumes")}, localpath.Deps{
		Client: a.storage, Informers: a.cluster,
		Events: n.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: localpath.Name, Host: n.host.node}),
	})
	if err != nil {
		return building("local volumes", err)
	}
	return nil
}

// policies builds what enforces network policies, and answers what the kubelet asks before containers start; nil when an
// add-on does the networking, and with it this.
func (n *nodeParts) policies(a nodeAccess) (pod.Network, error) {
	h := n.host
	if h.CNI == "none" {
		// What a start with the bridge left in the kernel would judge the add-on's packets.
		return nil, policy.Cleanup(h.PolicyTable())
	}
	var err error
	n.policy, err = policy.New(policy.Config{
		Table: h.PolicyTable(), NodeName: h.node, ClusterCIDRs: []netip.Prefix{h.PodRange()}, Link: h.network(firstRange(h.PodRange())).BridgeName,
	}, policy.Deps{Informers: a.cluster, Metrics: served{}})
	if err != nil {
		return nil, building("network policies", err)
	}
	return n.policy, nil
}

// services builds the Service proxy and the cluster DNS.
func (n *nodeParts) services(a nodeAccess) error {
	h := n.host
	var err error
	n.proxy, err = proxy.New(proxy.Config{
		Table: h.Instance(), NodeName: h.node, NodeIPs: h.addresses,
		ServiceCIDRs: h.ServiceRanges(), ClusterCIDRs: []netip.Prefix{h.PodRange()}, DNSAddresses: []netip.Addr{h.DNSAddress()},
	}, proxy.Deps{Informers: a.cluster})
	if err != nil {
		return building("service proxy", err)
	}
	n.dns, err = dns.New(dns.Config{
		Domain: h.ClusterDomain, ServiceAddresses: []netip.Addr{h.DNSAddress()}, LinkName: h.DNSLink(), ResolvConf: "/etc/resolv.conf",
	}, dns.Deps{Informers: a.cluster})
	if err != nil {
		return building("cluster DNS", err)
	}
	return nil
}

// handOver runs the parts.
func (n *nodeParts) handOver(l *layer) {
	l.run("node", n.reporter.Run)
	l.run("volumes", n.volumes.Run)
	l.run("csi", n.drivers.Run)
	l.run("plugins", n.plugins.Run)
	l.run("local-path", n.local.Run)
	l.run("kubelet", n.kubelet.Run)
	l.run("kubelet-server", n.server.Run)
	l.run("proxy", n.proxy.Run)
	l.run("dns", n.dns.Run)
	if n.ingress != nil {
		l.run("ingress", n.ingress.Run)
	}
	if n.balancer != nil {
		l.run("load-balancer", n.balancer.Run)
	}
	l.run("events", func(ctx context.Context) error {
		<-ctx.Done()
		n.events.Shutdown()
		return nil
	})
	if n.host.CNI == "none" {
		return
	}
	l.run("policy", n.policy.Run)
	l.run("peers", n.peers.Run)
	l.run("network", func(ctx context.Context) error {
		ranges, err := n.reporter.PodCIDRs(ctx)
		if err != nil {
			return err
		}
		pods, err := network.New(n.host.network(ranges[0]))
		if err != nil {
			return err
		}
		return pods.Run(ctx)
	})
}

func texts(addresses []netip.Addr) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}
