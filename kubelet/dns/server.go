package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// repairPeriod is how often to see whether the link is still there.
	repairPeriod = time.Second
	// idleTime is how long a TCP client may keep a connection that it doesn't use.
	idleTime = 8 * time.Second
)

// Server is the node's name server.
type Server struct {
	config    Config
	records   *records
	forwarder *forwarder
	ready     chan struct{}
}

// New makes a server that starts with Run. It registers what it needs with the shared informers.
func New(config Config, deps Deps) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configuring cluster DNS: %w", err)
	}
	config = config.withDefaults()
	cluster, err := newCluster(deps.Informers)
	if err != nil {
		return nil, fmt.Errorf("indexing Services for cluster DNS: %w", err)
	}
	servers := config.ServiceAddresses
	if len(servers) == 0 {
		servers = config.ListenAddresses
	}
	return &Server{
		config:    config,
		records:   &records{cluster: cluster, domain: config.Domain, servers: servers},
		forwarder: newForwarder(config, time.Now), //nolint:forbidigo // this is the clock that everything else takes
		ready:     make(chan struct{}),
	}, nil
}

func newForwarder(config Config, now func() time.Time) *forwarder {
	self := config.addresses()
	f := &forwarder{
		stubs: map[string][]netip.AddrPort{}, timeout: config.UpstreamTimeout, now: now,
		cache: newAnswerCache(config.CacheSize, now), bad: map[netip.AddrPort]time.Time{},
	}
	for domain, servers := range config.StubDomains {
		f.stubs[dns.CanonicalName(domain)] = others(servers, self)
	}
	if config.Upstreams != nil || config.ResolvConf == "" {
		fixed := others(config.Upstreams, self)
		f.upstreams = func() []netip.AddrPort { return fixed }
		return f
	}
	file := &resolvConf{path: config.ResolvConf, self: self}
	f.upstreams = file.upstreams
	return f
}

// Ready is closed once the server answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run answers until ctx ends. It leaves the link in place, for the next run; see Cleanup.
func (s *Server) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("dns"))
	if len(s.config.ServiceAddresses) > 0 {
		if err := ensureLink(s.config.LinkName, s.config.ServiceAddresses); err != nil {
			return fmt.Errorf("starting cluster DNS: %w", err)
		}
	}
	servers, err := s.listen(ctx)
	if err != nil {
		return fmt.Errorf("starting cluster DNS: %w", err)
	}
	// Until the caches are filled requests wait in the sockets, rather than being told that names don't exist.
	if !cache.WaitForCacheSync(ctx.Done(), s.records.cluster.synced...) {
		closeAll(servers)
		return nil
	}
	return s.serve(ctx, servers)
}

// serve runs the servers until ctx ends or one of them fails.
func (s *Server) serve(ctx context.Context, servers []*dns.Server) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, server := range servers {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) { s.handle(ctx, w, req) })
		all.Go(func() {
			if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serving cluster DNS: %w", err))
			}
		})
	}
	all.Go(func() { s.keepLink(ctx) })
	close(s.ready)
	<-ctx.Done()
	closeAll(servers)
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// listen opens a UDP and a TCP socket for each address.
func (s *Server) listen(ctx context.Context) ([]*dns.Server, error) {
	var out []*dns.Server
	var config net.ListenConfig
	for _, at := range s.config.addresses() {
		packets, err := config.ListenPacket(ctx, "udp", at.String())
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("listening on %s (is another name server there?): %w", at, err)
		}
		out = append(out, &dns.Server{PacketConn: packets, UDPSize: maxUDP})
		listener, err := config.Listen(ctx, "tcp", at.String())
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("listening on %s (is another name server there?): %w", at, err)
		}
		idle := func() time.Duration { return idleTime }
		out = append(out, &dns.Server{Listener: listener, IdleTimeout: idle, ReadTimeout: idleTime})
	}
	return out, nil
}

// closeAll ends the servers' sockets, and with them the servers.
func closeAll(servers []*dns.Server) {
	for _, server := range servers {
		_ = server.Shutdown() // fails if it wasn't started yet: then the socket is all there is
		if server.PacketConn != nil {
			_ = server.PacketConn.Close()
		}
		if server.Listener != nil {
			_ = server.Listener.Close()
		}
	}
}

func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, req *dns.Msg) {
	_, tcp := w.LocalAddr().(*net.TCPAddr)
	if reply := s.respond(ctx, req, tcp); reply != nil {
		_ = w.WriteMsg(reply) // a client that is gone needs no answer
	}
}

// keepLink repairs the link until ctx ends.
func (s *Server) keepLink(ctx context.Context) {
	ticker := time.NewTicker(repairPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if len(s.config.ServiceAddresses) == 0 {
			continue
		}
		if err := ensureLink(s.config.LinkName, s.config.ServiceAddresses); err != nil {
			klog.FromContext(ctx).Error(err, "Cluster DNS can't be reached at its Service address")
		}
	}
}
