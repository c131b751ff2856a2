// Package authn tells who a request is from: a component inside the process, a
// trusted proxy, a client certificate, a service account or bootstrap token, or
// nobody (system:anonymous). It also issues the service account tokens.
package authn

import (
	"crypto/ecdsa"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// tokenCacheTTL is how long a valid token is believed without another look at
// the objects it is bound to.
const tokenCacheTTL = 10 * time.Second

// Config names the sources of identities.
type Config struct {
	ClientCAFile string
	// FrontProxyCAFile signs proxies that may name the user in headers; empty
	// means that no proxy may.
	FrontProxyCAFile string
	// FrontProxyName is the only common name such a proxy may have.
	FrontProxyName string
	TokenKey       *ecdsa.PrivateKey
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
	// TLS listener asks certificates of, the front proxy's authority included.
	CertificateAuthority, ClientCA dynamiccertificates.CAContentProvider
	RequestHeader                  *authenticatorfactory.RequestHeaderConfig // nil without a front proxy
}

// New assembles the authenticators in upstream's order. Bad credentials are an
// error; only their absence makes a request anonymous.
func New(c Config) (*Authn, error) {
	issuer, err := NewIssuer(c.TokenKey)
	if err != nil {
		return nil, err
	}
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client authority: %w", err)
	}
	a := &Authn{Issuer: issuer, CertificateAuthority: ca, ClientCA: ca}
	var chain []authenticator.Request
	if c.FrontProxyCAFile != "" {
		proxy, err := a.frontProxy(c)
		if err != nil {
			return nil, err
		}
		a.ClientCA = dynamiccertificates.NewUnionCAContentProvider(ca, a.RequestHeader.CAContentProvider)
		chain = append(chain, proxy)
	}
	chain = append(chain, x509.NewDynamic(ca.VerifyOptions, x509.CommonNameUserConversion))
	tokens := a.tokens(c)
	a.Bearer = group.NewAuthenticatedGroupAdder(bearertoken.New(tokens))
	chain = append(chain, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens))
	network := group.NewAuthenticatedGroupAdder(union.New(chain...))
	a.Request = union.NewFailOnError(authenticator.RequestFunc(inProcess), network, anonymous.NewAuthenticator(nil))
	return a, nil
}

func (a *Authn) tokens(c Config) authenticator.Token {
	objects := objects{c.Client}
	all := tokenunion.New(
		authenticator.WrapAudienceAgnosticToken(a.Issuer.Audiences(), legacyTokens{a.Issuer, objects}),
		boundTokens{a.Issuer, objects},
		authenticator.WrapAudienceAgnosticToken(a.Issuer.Audiences(), bootstrapTokens{objects}),
	)
	return tokencache.New(all, false, tokenCacheTTL, 0)
}

func (a *Authn) frontProxy(c Config) (authenticator.Request, error) {
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("request-header", c.FrontProxyCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the front proxy authority: %w", err)
	}
	r := &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     headerrequest.StaticStringSlice{"X-Remote-User"},
		UIDHeaders:          headerrequest.StaticStringSlice{"X-Remote-Uid"},
		GroupHeaders:        headerrequest.StaticStringSlice{"X-Remote-Group"},
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		AllowedClientNames:  headerrequest.StaticStringSlice{c.FrontProxyName},
		CAContentProvider:   ca,
	}
	a.RequestHeader = r
	return headerrequest.NewDynamicVerifyOptionsSecure(ca.VerifyOptions,
		r.AllowedClientNames, r.UsernameHeaders, r.UIDHeaders, r.GroupHeaders, r.ExtraHeaderPrefixes), nil
}
