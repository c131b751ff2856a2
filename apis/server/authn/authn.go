// Package authn tells who a request is from: a component inside the process, a
// trusted proxy, a client certificate, a token of a file, of a service account,
// of a joining node, of an OpenID issuer or of whatever a webhook knows, or
// nobody (system:anonymous). It also issues the service account tokens.
package authn

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	"k8s.io/client-go/kubernetes"

	"skiff/config"
)

// tokenCacheTTL is how long a valid token is believed without another look at
// the objects it is bound to.
const tokenCacheTTL = 10 * time.Second

// Config names the sources of identities.
type Config struct {
	config.Authentication

	// OwnCAFile signs the clients that the cluster itself made.
	OwnCAFile string
	// AggregatorCAFile signs the aggregator, which may name the user in headers
	// under the common name AggregatorName.
	AggregatorCAFile, AggregatorName string
	TokenKey                         *ecdsa.PrivateKey
	// Client reads the objects that tokens are bound to, with full rights.
	Client kubernetes.Interface
}

// Authn is the assembled authenticator with its parts.
type Authn struct {
	Request authenticator.Request
	// Bearer looks at nothing but the bearer token: what a TokenReview asks, whose
	// own caller must not be mistaken for the token's owner.
	Bearer authenticator.Request
	Issuer *Issuer
	// CertificateAuthority signs the clients' certificates; ClientCA is what the
	// TLS listener asks certificates of, the proxies' authorities included.
	CertificateAuthority, ClientCA dynamiccertificates.CAContentProvider
	RequestHeader                  *authenticatorfactory.RequestHeaderConfig // the aggregator's
	// Headers are those in which any proxy names a user.
	Headers *authenticatorfactory.RequestHeaderConfig

	issuers *issuers
	follow  *follower // of the configuration file; nil without one
}

// New assembles the authenticators in upstream's order. Bad credentials are an
// error; only their absence makes a request anonymous.
func New(c Config) (*Authn, error) {
	register()
	file, data, err := Configuration(c.Authentication)
	if err != nil {
		return nil, err
	}
	issuer, err := NewIssuer(c.TokenKey, c.ServiceAccounts, c.APIAudiences)
	if err != nil {
		return nil, err
	}
	a := &Authn{Issuer: issuer}
	if err := a.authorities(c); err != nil {
		return nil, err
	}
	chain, err := a.proxies(c)
	if err != nil {
		return nil, err
	}
	chain = append(chain, x509.NewDynamic(a.CertificateAuthority.VerifyOptions, x509.CommonNameUserConversion))
	a.issuers = newIssuers(c.Authentication, file)
	if c.ConfigFile != "" {
		a.follow = newFollower(c.ConfigFile, file, data, a.issuers)
	}
	tokens, err := a.tokens(c)
	if err != nil {
		return nil, err
	}
	a.Bearer = group.NewAuthenticatedGroupAdder(bearertoken.New(tokens))
	chain = append(chain, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens))
	all := []authenticator.Request{authenticator.RequestFunc(inProcess), group.NewAuthenticatedGroupAdder(union.New(chain...))}
	if nobody := anonymity(c.Authentication, file); nobody.Enabled {
		all = append(all, anonymous.NewAuthenticator(nobody.Conditions))
	}
	a.Request = union.NewFailOnError(all...)
	return a, nil
}

// Run believes the tokens of OpenID issuers, and follows the configuration file
// if there is one, until ctx ends. server names this server in metrics.
func (a *Authn) Run(ctx context.Context, server string) error {
	if err := a.issuers.start(ctx, server); err != nil {
		return fmt.Errorf("starting the authenticators of OpenID issuers: %w", err)
	}
	defer a.issuers.stop()
	if a.follow == nil {
		<-ctx.Done()
		return nil
	}
	a.follow.run(ctx, server)
	return nil
}

// anonymity is who may do without credentials: what the file says, or the flag.
func anonymity(a config.Authentication, file *apiserver.AuthenticationConfiguration) apiserver.AnonymousAuthConfig {
	if file.Anonymous != nil {
		return *file.Anonymous
	}
	return apiserver.AnonymousAuthConfig{Enabled: a.Anonymous}
}

// authorities reads what signs clients' certificates.
func (a *Authn) authorities(c Config) error {
	own, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", c.OwnCAFile)
	if err != nil {
		return fmt.Errorf("reading the client authority: %w", err)
	}
	a.CertificateAuthority = own
	if c.ClientCAFile != "" {
		further, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", c.ClientCAFile)
		if err != nil {
			return fmt.Errorf("reading the further client authority: %w", err)
		}
		a.CertificateAuthority = dynamiccertificates.NewUnionCAContentProvider(own, further)
	}
	a.ClientCA = a.CertificateAuthority
	return nil
}

// tokens believes bearer tokens: the local ones first, then those that others
// have to be asked about.
func (a *Authn) tokens(c Config) (authenticator.Token, error) {
	objects := objects{c.Client}
	local := func(t authenticator.Token) authenticator.Token {
		return authenticator.WrapAudienceAgnosticToken(a.Issuer.Audiences(), t)
	}
	var all []authenticator.Token
	if c.TokenFile != "" {
		t, err := tokenfile.NewCSV(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("reading the token file: %w", err)
		}
		all = append(all, local(t))
	}
	all = append(all, local(legacyTokens{a.Issuer, objects}), boundTokens{a.Issuer, objects})
	if c.BootstrapTokens {
		all = append(all, local(bootstrapTokens{objects}))
	}
	all = append(all, local(a.issuers))
	if c.Webhook.ConfigFile != "" {
		t, err := askWebhook(c.Webhook, a.Issuer.Audiences())
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return tokencache.New(tokenunion.New(all...), true, tokenCacheTTL, 0), nil
}

// askWebhook believes what a service says of a token, and remembers it.
func askWebhook(w config.TokenWebhook, audiences authenticator.Audiences) (authenticator.Token, error) {
	client, err := webhookutil.LoadKubeconfig(w.ConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of the token webhook: %w", err)
	}
	t, err := webhook.New(client, w.Version, audiences, *webhook.DefaultRetryBackoff())
	if err != nil {
		return nil, fmt.Errorf("making the client of the token webhook: %w", err)
	}
	return tokencache.New(t, false, w.CacheTTL, w.CacheTTL), nil
}
