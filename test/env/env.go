// Package env starts a whole API server inside a test: embedded etcd, every
// resource, authentication, authorization and admission, on a free loopback
// port and over the in-process transport.
package env

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/apis/groups"
	"skiff/apis/resource"
	"skiff/apis/server"
	"skiff/apis/server/etcd"
	"skiff/apis/server/loopback"
	"skiff/apis/server/nodeproxy"
	"skiff/config"
	"skiff/config/pki"
)

// startTimeout is far above what a start takes even on a busy machine.
const startTimeout = time.Minute

// Options changes the defaults; the zero value is an empty cluster.
type Options struct {
	// Dir keeps the data; a second server on it finds the first one's objects.
	// Empty means a temporary directory.
	Dir string
	// Beside makes the server another one on the store of a running server,
	// which must run longer.
	Beside *Server
	// Resources replaces the served resources.
	Resources []resource.Resource
	// Configure changes what the product's defaults are.
	Configure func(*server.Config)
	// Access changes who is believed, and who decides what they may.
	Access func(*server.AccessConfig)
	// ServiceCIDRs and NodePorts are what Services are given, 10.96.0.0/16 and
	// 30000-32767 if unset; RepairEvery is how often that is repaired.
	ServiceCIDRs []netip.Prefix
	NodePorts    utilnet.PortRange
	RepairEvery  time.Duration
}

// Server is a running API server.
type Server struct {
	Loopback  *loopback.Transport
	Etcd      *etcd.Etcd
	PKI       *pki.PKI
	Informers informers.SharedInformerFactory
	API       *server.Server
	Access    *server.Access

	t      testing.TB
	dir    string
	shared bool // the store is another server's
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
}

// Start returns a ready server, which stops when the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Beside != nil {
		o.Dir = o.Beside.dir
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.ServiceCIDRs == nil {
		o.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	}
	if o.NodePorts.Size == 0 {
		o.NodePorts = utilnet.PortRange{Base: 30000, Size: 2768}
	}
	s := &Server{t: t, dir: o.Dir, Loopback: loopback.New(), done: make(chan struct{})}
	t.Cleanup(s.Stop)
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	s.assemble(ctx, o)
	go func() {
		defer close(s.done)
		if err := s.API.Run(ctx); err != nil {
			t.Errorf("env: %v", err)
		}
	}()
	select {
	case <-s.API.Ready():
	case <-s.done:
		t.Fatal("env: the server ended before it was ready")
	case <-time.After(startTimeout):
		t.Fatal("env: the server is not ready:\n" + s.readyz())
	}
	return s
}

func (s *Server) assemble(ctx context.Context, o Options) {
	t := s.t
	t.Helper()
	local := netip.MustParseAddr("127.0.0.1")
	var err error
	if s.PKI, err = pki.Load(pki.Config{Dir: filepath.Join(o.Dir, "pki"), Addresses: []netip.Addr{local}}); err != nil {
		t.Fatalf("env: %v", err)
	}
	if s.Etcd, err = s.store(ctx, o); err != nil {
		t.Fatalf("env: %v", err)
	}
	client := kubernetes.NewForConfigOrDie(s.Config("system:apiserver", "system:masters"))
	s.Informers = informers.NewSharedInformerFactory(client, 0)
	access := server.AccessConfig{
		Loopback: s.Loopback, Informers: s.Informers, TokenKey: s.PKI.TokenKey(),
		ClientCAFile: s.PKI.File("ca.crt"), FrontProxyCAFile: s.PKI.File("front-proxy-ca.crt"),
		Authentication: config.DefaultAuthentication(), Authorization: config.DefaultAuthorization(),
	}
	if o.Access != nil {
		o.Access(&access)
	}
	if s.Access, err = server.NewAccess(access); err != nil {
		t.Fatalf("env: %v", err)
	}
	if o.Resources == nil {
		o.Resources = s.resources(s.Access, o)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("env: %v", err)
	}
	c := server.Config{
		Etcd: s.Etcd, Loopback: s.Loopback, Informers: s.Informers,
		Access: s.Access,
		Serving: server.Serving{
			Listener: listener,
			CertFile: s.PKI.File("apiserver.crt"), KeyFile: s.PKI.File("apiserver.key"),
			ProxyCertFile: s.PKI.File("front-proxy-client.crt"), ProxyKeyFile: s.PKI.File("front-proxy-client.key"),
		},
		Version: "v1.37.2+skiff.test", AdvertiseAddress: local, ServiceCIDRs: o.ServiceCIDRs,
		Flags: map[string]string{}, Audit: config.DefaultAudit(), Limits: config.DefaultLimits(), Profiling: config.Profiling{Enabled: true},
	}
	if o.Configure != nil {
		o.Configure(&c)
	}
	if s.API, err = server.New(c, o.Resources); err != nil {
		t.Fatalf("env: %v", err)
	}
}

func (s *Server) store(ctx context.Context, o Options) (*etcd.Etcd, error) {
	if o.Beside != nil {
		s.shared = true
		return o.Beside.Etcd, nil
	}
	return etcd.Start(ctx, etcd.Config{Dir: filepath.Join(o.Dir, "etcd")})
}

// resources composes the groups as the product does.
func (s *Server) resources(a *server.Access, o Options) []resource.Resource {
	s.t.Helper()
	client := kubernetes.NewForConfigOrDie(s.Config("system:apiserver", "system:masters"))
	nodes, err := nodeproxy.New(nodeproxy.Config{
		CAFile: s.PKI.File("ca.crt"), Client: client,
		CertFile: s.PKI.File("apiserver-kubelet-client.crt"), KeyFile: s.PKI.File("apiserver-kubelet-client.key"),
	})
	if err != nil {
		s.t.Fatalf("env: %v", err)
	}
	s.t.Cleanup(nodes.Close)
	return groups.All(groups.Deps{
		Issuer: a.Issuer, Tokens: a.Bearer, Authorizer: a.Authorizer, RuleResolver: a.RuleResolver, Rules: a.Rules,
		Nodes: nodes, Client: client, ServiceCIDRs: o.ServiceCIDRs, NodePorts: o.NodePorts,
		RepairEvery: o.RepairEvery, Informers: s.Informers,
		Health: map[string]func(context.Context) error{"etcd-0": s.Etcd.Healthy},
	})
}

// Stop ends the server as SIGTERM would; a second call does nothing.
func (s *Server) Stop() {
	s.once.Do(func() {
		s.cancel()
		if s.API != nil {
			<-s.done
		}
		s.Loopback.Close()
		if s.Informers != nil {
			s.Informers.Shutdown()
		}
		if s.Etcd != nil && !s.shared {
			if err := s.Etcd.Close(); err != nil {
				s.t.Errorf("env: %v", err)
			}
		}
	})
}

// Config is a client that acts as the user over the in-process transport.
func (s *Server) Config(user string, groups ...string) *rest.Config {
	return s.Loopback.Config(user, groups...)
}

// Admin is an in-process client that may do everything.
func (s *Server) Admin() *rest.Config { return s.Config("kubernetes-admin", "system:masters") }

// URL is the server's address on the network.
func (s *Server) URL() string { return "https://" + s.API.Addr().String() }

// Remote is a client that acts as the user over TLS, with a certificate.
func (s *Server) Remote(user string, groups ...string) *rest.Config {
	s.t.Helper()
	cert, key, err := s.PKI.Issue(user, groups...)
	if err != nil {
		s.t.Fatalf("env: %v", err)
	}
	return &rest.Config{Host: s.URL(), QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CA(), CertData: cert, KeyData: key}}
}

// Kubeconfig writes the administrator's kubeconfig and returns its path.
func (s *Server) Kubeconfig() string {
	s.t.Helper()
	path := filepath.Join(s.dir, "kubeconfig")
	if err := s.PKI.WriteKubeconfig(path, "skiff", s.URL()); err != nil {
		s.t.Fatalf("env: %v", err)
	}
	return path
}

// readyz is what the server says of its own checks.
func (s *Server) readyz() string {
	body, err := kubernetes.NewForConfigOrDie(s.Admin()).Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").
		Timeout(5 * time.Second).Do(context.Background()).Raw()
	if err != nil {
		return string(body) + err.Error()
	}
	return string(body)
}
