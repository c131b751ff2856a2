package server

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/client-go/kubernetes"
	basecompatibility "k8s.io/component-base/compatibility"

	"skiff/internal/stack"
)

// shutdownTimeout bounds the wait for open connections when the server stops.
const shutdownTimeout = time.Second

// configure fills the configuration that the three servers share.
func (s *Server) configure(b builtIn) error {
	cfg := genericserver.NewConfig(b.codecs)
	cfg.Serializer = b.answers
	cfg.EffectiveVersion = named{compatibility.DefaultBuildEffectiveVersion(), s.config.Version}
	cfg.LoopbackClientConfig = s.config.Loopback.Config(user.APIServerUser, user.SystemPrivilegedGroup)
	// One manager, or the custom resources are missing from aggregated discovery.
	cfg.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	cfg.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"),
		sets.NewString("attach", "exec", "proxy", "log", "portforward"),
	)
	cfg.BuildHandlerChainFunc = func(api http.Handler, c *genericserver.Config) http.Handler {
		chain := genericserver.DefaultBuildHandlerChain(withSoundPatches(api, b.answers, c.MaxRequestBodyBytes), c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stack.Reserve()
			boundBody(w, r, c)
			chain.ServeHTTP(w, r)
		})
	}
	s.addLimits(cfg)
	cfg.Authentication = genericserver.AuthenticationInfo{
		APIAudiences:        s.config.Access.Issuer.Audiences(),
		Authenticator:       roomy{s.config.Access.Request},
		RequestHeaderConfig: s.config.Access.Headers,
	}
	cfg.Authorization.Authorizer = s.config.Access.Authorizer
	cfg.RuleResolver = s.config.Access.RuleResolver
	cfg.PublicAddress = s.config.AdvertiseAddress.AsSlice()
	cfg.ExternalAddress = externalAddress(s.config)
	if s.config.Flags != nil {
		cfg.Flagz = flags(s.config.Flags)
	}
	if err := s.addServing(cfg); err != nil {
		return err
	}
	if s.config.Limits.Fairness && serves(b.resources, "flowcontrol.apiserver.k8s.io") {
		if err := s.addFlowControl(cfg); err != nil {
			return err
		}
	}
	etcd := func(r *http.Request) error { return s.config.Etcd.Healthy(r.Context()) }
	cfg.AddHealthChecks(healthz.NamedCheck("etcd", etcd))
	cfg.AddReadyzChecks(healthz.NamedCheck("etcd-readiness", etcd))
	if err := s.addEncryption(cfg); err != nil {
		return err
	}
	s.addMetrics(cfg.EffectiveVersion)
	s.base = cfg
	return s.addAudit(cfg)
}

// bodyGrace is how long after the timeout of a request the rest of its body is
// waited for.
const bodyGrace = time.Second

// boundBody ends the wait for the rest of an HTTP/1.1 request's body, for which
// net/http holds even the answer that the request took too long. The deadline
// is lifted before the connection's next request.
func boundBody(w http.ResponseWriter, r *http.Request, c *genericserver.Config) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return
	}
	info, err := c.RequestInfoResolver.NewRequestInfo(r)
	if err != nil || c.LongRunningFunc(r, info) {
		return
	}
	// A connection without deadlines is served without.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(c.RequestTimeout + bodyGrace))
}

// roomy is an authenticator, the first of ours that is called on the goroutine
// which the handler chain starts for a request.
type roomy struct{ authenticator.Request }

// AuthenticateRequest implements authenticator.Request.
func (a roomy) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	stack.Reserve()
	return a.Request.AuthenticateRequest(r) //nolint:wrapcheck // nothing to add
}

func (s *Server) addLimits(cfg *genericserver.Config) {
	l := s.config.Limits
	cfg.MaxRequestsInFlight, cfg.MaxMutatingRequestsInFlight = l.MaxRequests, l.MaxMutatingRequests
	cfg.RequestTimeout, cfg.MinRequestTimeout = l.RequestTimeout, l.MinRequestTimeout
	cfg.GoawayChance = l.GoawayChance
	cfg.LivezGracePeriod, cfg.ShutdownDelayDuration = l.LivezGracePeriod, l.ShutdownDelay
	cfg.ShutdownSendRetryAfter, cfg.ShutdownWatchTerminationGracePeriod = l.ShutdownRetryAfter, l.ShutdownWatchGrace
	p := s.config.Profiling
	cfg.EnableProfiling, cfg.EnableContentionProfiling, cfg.DebugSocketPath = p.Enabled, p.Contention, p.Socket
}

// addFlowControl shares the server's concurrency out by flow schemas.
func (s *Server) addFlowControl(cfg *genericserver.Config) error {
	client, err := kubernetes.NewForConfig(cfg.LoopbackClientConfig)
	if err != nil {
		return fmt.Errorf("making the flow control client: %w", err)
	}
	cfg.FlowControl = utilflowcontrol.New(s.config.Informers, client.FlowcontrolV1(), cfg.MaxRequestsInFlight+cfg.MaxMutatingRequestsInFlight)
	return nil
}

func externalAddress(c Config) string {
	port := 443
	if a, ok := c.Serving.Listener.Addr().(*net.TCPAddr); ok {
		port = a.Port
	}
	return net.JoinHostPort(c.AdvertiseAddress.String(), strconv.Itoa(port))
}

func (s *Server) addServing(cfg *genericserver.Config) error {
	c := s.config.Serving
	cert, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving-cert", c.CertFile, c.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the serving certificate: %w", err)
	}
	cfg.SecureServing = &genericserver.SecureServingInfo{
		Listener: c.Listener,
		Cert:     cert,
		ClientCA: s.config.Access.ClientCA,

		HTTP2MaxStreamsPerConnection: s.config.Limits.MaxStreams,
	}
	return nil
}

// named is an effective version under the product's own gitVersion.
type named struct {
	basecompatibility.EffectiveVersion
	gitVersion string
}

// Info implements basecompatibility.EffectiveVersion.
func (n named) Info() *version.Info {
	info := *n.EffectiveVersion.Info()
	if n.gitVersion != "" {
		info.GitVersion = n.gitVersion
	}
	return &info
}

// flags are what /flagz shows.
type flags map[string]string

// GetFlagz implements flagz.Reader.
func (f flags) GetFlagz() map[string]string { return f }
