package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/client-go/util/cert"

	"skiff/config"
)

const (
	// issuerTimeout bounds a request to an issuer.
	issuerTimeout = 30 * time.Second
	// readyPoll is how often new issuers are asked whether they have keys.
	readyPoll = 100 * time.Millisecond
	// replacedAfter is how long requests that began before a change of the issuers
	// may still use the old ones; their metrics go countedAfter later.
	replacedAfter, countedAfter = time.Minute, 30 * time.Second
)

// issuers believes the tokens of OpenID issuers. They can be exchanged while
// requests are served; before start there are none.
type issuers struct {
	algorithms []string
	first      *apiserver.AuthenticationConfiguration
	own        []string // issuers of the cluster's own tokens

	current atomic.Pointer[generation]
	old     sync.WaitGroup // generations that were replaced and not ended yet
}

// generation is the issuers of one configuration.
type generation struct {
	authenticator.Token

	urls   sets.Set[string]
	checks []func() error
	close  func()
}

func newIssuers(a config.Authentication, first *apiserver.AuthenticationConfiguration) *issuers {
	i := &issuers{algorithms: a.OIDC.SigningAlgs, first: first, own: issuersOf(a.ServiceAccounts)}
	if a.ConfigFile != "" {
		i.algorithms = oidc.AllValidSigningAlgorithms() // whichever fits the issuer's keys
	}
	return i
}

// AuthenticateToken implements authenticator.Token.
func (i *issuers) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	g := i.current.Load()
	if g == nil {
		return nil, false, nil
	}
	return g.AuthenticateToken(ctx, token)
}

// start believes the issuers of the first configuration, as soon as each has
// answered; until ctx ends.
func (i *issuers) start(ctx context.Context, server string) error {
	g, err := i.build(ctx, i.first, server)
	if err == nil {
		i.current.Store(g)
	}
	return err
}

// stop waits for the end of everything, once the contexts of start and replace
// have ended.
func (i *issuers) stop() {
	i.old.Wait()
	if g := i.current.Swap(nil); g != nil {
		g.close()
	}
}

// replace exchanges the issuers when all new ones have keys; else, at the end of
// wait, everything stays. The new ones live until ctx ends.
func (i *issuers) replace(ctx, waiting context.Context, c *apiserver.AuthenticationConfiguration, server string) error {
	g, err := i.build(ctx, c, server)
	if err != nil {
		return err
	}
	var unready error
	err = wait.PollUntilContextCancel(waiting, readyPoll, true, func(context.Context) (bool, error) {
		unready = g.unready()
		return unready == nil, nil
	})
	if err != nil {
		g.close()
		return errors.Join(unready, err)
	}
	before := i.current.Swap(g)
	i.old.Go(func() { before.retire(ctx, g.urls, server) })
	return nil
}

func (i *issuers) build(ctx context.Context, c *apiserver.AuthenticationConfiguration, server string) (*generation, error) {
	ctx, cancel := context.WithCancel(ctx)
	g := &generation{urls: sets.New[string]()}
	var clients []*http.Client
	g.close = func() {
		cancel()
		for _, c := range clients {
			c.CloseIdleConnections()
		}
	}
	var tokens []authenticator.Token
	for _, jwt := range c.JWT {
		client, err := clientOf(jwt.Issuer)
		if err != nil {
			g.close()
			return nil, err
		}
		clients = append(clients, client)
		t, err := oidc.New(ctx, oidc.Options{
			JWTAuthenticator: jwt, Client: client, SupportedSigningAlgs: i.algorithms, DisallowedIssuers: i.own, APIServerID: server,
		})
		if err != nil {
			g.close()
			return nil, err
		}
		tokens = append(tokens, t)
		g.checks = append(g.checks, t.HealthCheck)
		g.urls.Insert(jwt.Issuer.URL)
	}
	g.Token = tokenunion.NewFailOnError(tokens...)
	return g, nil
}

// clientOf speaks with an issuer under its own authority.
func clientOf(issuer apiserver.Issuer) (*http.Client, error) {
	t := utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}})
	if issuer.CertificateAuthority != "" {
		pool, err := cert.NewPoolFromBytes([]byte(issuer.CertificateAuthority))
		if err != nil {
			return nil, fmt.Errorf("reading the authority of %s: %w", issuer.URL, err)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: t, Timeout: issuerTimeout}, nil
}

// unready is why some issuer's tokens can't be verified yet.
func (g *generation) unready() error {
	var errs []error
	for _, check := range g.checks {
		errs = append(errs, check())
	}
	return errors.Join(errs...)
}

// retire ends the issuers when no request can use them any more, and forgets
// what was counted of those that are gone.
func (g *generation) retire(ctx context.Context, stay sets.Set[string], server string) {
	pause(ctx, replacedAfter)
	g.close()
	pause(ctx, countedAfter)
	for url := range g.urls.Difference(stay) {
		oidc.DeleteJWKSFetchMetrics(url, server)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
