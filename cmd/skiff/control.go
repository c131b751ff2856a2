package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"skiff/apis/groups"
	"skiff/apis/resource"
	"skiff/apis/server"
	"skiff/apis/server/etcd"
	"skiff/apis/server/loopback"
	"skiff/apis/server/nodeproxy"
	"skiff/config"
	"skiff/config/pki"
	"skiff/controllers"
	"skiff/controllers/certificates"
	"skiff/controllers/horizontalpodautoscaler"
	"skiff/controllers/nodecertificates"
	"skiff/internal/slim"
	"skiff/kubelet/hollow"
	"skiff/scheduler"
)

// controlPlane is the API with its store, and the cache that all components
// share.
type controlPlane struct {
	etcd      *etcd.Etcd
	loopback  *loopback.Transport
	informers informers.SharedInformerFactory
	nodes     *nodeproxy.Proxy
	access    *server.Access
	api       *server.Server
	working   atomic.Bool // controllers and scheduler run
}

func newControlPlane(ctx context.Context, h *host) (c *controlPlane, err error) {
	c = &controlPlane{loopback: loopback.New()}
	defer func() {
		if err != nil {
			c.close(ctx)
		}
	}()
	store := etcd.Config{Dir: filepath.Join(h.DataDir, "etcd"), Servers: h.EtcdServers, TLS: etcd.TLS{CAFile: h.EtcdCAFile, CertFile: h.EtcdCert, KeyFile: h.EtcdKey}}
	if c.etcd, err = etcd.Start(ctx, store); err != nil {
		return c, err
	}
	client, err := c.client("system:apiserver", "system:masters")
	if err != nil {
		return c, err
	}
	c.informers = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim.Transform()))
	c.access, err = server.NewAccess(server.AccessConfig{
		Loopback: c.loopback, Informers: c.informers, TokenKey: h.pki.TokenKey(),
		ClientCAFile: h.pki.File("ca.crt"), FrontProxyCAFile: h.pki.File("front-proxy-ca.crt"),
		Authentication: h.Authentication, Authorization: h.Authorization,
	})
	if err != nil {
		return c, building("access control", err)
	}
	resources, err := c.resources(h, client)
	if err != nil {
		return c, err
	}
	c.api, err = server.New(server.Config{
		Etcd: c.etcd, Loopback: c.loopback, Informers: c.informers, Access: c.access,
		Serving: server.Serving{
			Listener: h.ports.api,
			CertFile: h.pki.File("apiserver.crt"), KeyFile: h.pki.File("apiserver.key"),
			ProxyCertFile: h.pki.File("front-proxy-client.crt"), ProxyKeyFile: h.pki.File("front-proxy-client.key"),
		},
		Version: config.GitVersion(), AdvertiseAddress: h.advertise, ServiceCIDRs: h.ServiceRanges(), LocalPath: !h.NoNode && !h.APIOnly, Ingress: h.ServesIngress(), LoadBalancer: h.balances(), CheckPolicies: !h.APIOnly,
		NodeConfig: nodeConfig(h.Config),
		Flags:      flagValues(h.Config), Audit: h.Audit, Encryption: h.Encryption, Admission: h.Admission, Limits: h.Limits, Profiling: h.Profiling,
	}, resources)
	if err != nil {
		return c, building("API server", err)
	}
	return c, nil
}

func (c *controlPlane) resources(h *host, client kubernetes.Interface) ([]resource.Resource, error) {
	var err error
	c.nodes, err = nodeproxy.New(nodeproxy.Config{
		CAFile: h.pki.File("ca.crt"), Client: client,
		CertFile: h.pki.File("apiserver-kubelet-client.crt"), KeyFile: h.pki.File("apiserver-kubelet-client.key"),
	})
	if err != nil {
		return nil, building("connection to kubelets", err)
	}
	working := func(context.Context) error {
		if !c.working.Load() {
			return errors.New("not started")
		}
		return nil
	}
	return groups.All(groups.Deps{
		Issuer: c.access.Issuer, Tokens: c.access.Bearer, Authorizer: c.access.Authorizer, RuleResolver: c.access.RuleResolver, Rules: c.access.Rules,
		Nodes: c.nodes, Client: client, ServiceCIDRs: h.ServiceRanges(), NodePorts: h.NodePortRange(), Informers: c.informers,
		Health: map[string]func(context.Context) error{"etcd-0": c.etcd.Healthy, "controller-manager": working, "scheduler": working},
	}), nil
}

// client speaks in this process as the user.
func (c *controlPlane) client(user string, groups ...string) (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(c.loopback.Config(user, groups...))
	if err != nil {
		return nil, building("client of "+user, err)
	}
	return client, nil
}

// close ends what is left once the API server has ended.
func (c *controlPlane) close(ctx context.Context) {
	c.loopback.Close()
	if c.informers != nil {
		c.informers.Shutdown()
	}
	if c.nodes != nil {
		c.nodes.Close()
	}
	if c.etcd != nil {
		if err := c.etcd.Close(); err != nil {
			klog.FromContext(ctx).Error(err, "closing etcd")
		}
	}
}

// components are the loops that need no node.
type components struct {
	controllers *controllers.Controllers
	scheduler   *scheduler.Scheduler
	hollow      *hollow.Nodes
}

func newComponents(h *host, c *controlPlane) (*components, error) {
	out := &components{}
	cfg := controllers.Default()
	cfg.ClusterCIDR = h.PodRange()
	own := h.certificates()
	cfg.Reserved = nodecertificates.Reserved{Names: append(own.Names, pki.ServerNames()...), Addresses: own.Addresses}
	cfg.Autoscaling = horizontalpodautoscaler.Config(h.Autoscaling)
	var err error
	out.controllers, err = controllers.New(cfg, controllers.Deps{
		ClientConfig: c.loopback.Config, Informers: c.informers, RootCA: h.pki.CA(),
		Tokens: c.access.Issuer, Authority: authority(h.pki), Metrics: served{},
	})
	if err != nil {
		return nil, building("controllers", err)
	}
	client, err := c.client("system:kube-scheduler")
	if err != nil {
		return nil, err
	}
	places, err := scheduling(h.Config)
	if err != nil {
		return nil, err
	}
	if out.scheduler, err = scheduler.New(places, scheduler.Deps{Client: client, Informers: c.informers, Metrics: served{}}); err != nil {
		return nil, building("scheduler", err)
	}
	if h.SimulatedNodes > 0 {
		if client, err = c.client("system:apiserver", "system:masters"); err != nil {
			return nil, err
		}
		if out.hollow, err = hollow.New(hollow.Config{Count: h.SimulatedNodes, Version: config.GitVersion()}, hollow.Deps{Client: client, Informers: c.informers}); err != nil {
			return nil, building("simulated nodes", err)
		}
	}
	c.working.Store(true)
	return out, nil
}

// served is where the API server shows metrics.
type served struct{}

func (served) Register(m metrics.Registerable) error { return legacyregistry.Register(m) }

func (served) CustomRegister(c metrics.StableCollector) error {
	return legacyregistry.CustomRegister(c)
}

// authority answers what signs the cluster's certificates.
func authority(p *pki.PKI) *certificates.Authority {
	cert, key := p.Authority()
	return &certificates.Authority{Certificate: cert, Key: key}
}
