package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Authentication is which credentials are believed beside the cluster's own
// certificates and service account tokens.
type Authentication struct {
	// ConfigFile is an apiserver.config.k8s.io AuthenticationConfiguration, which
	// is followed while the server runs; it takes the place of OIDC.
	ConfigFile      string
	Anonymous       bool     // requests without credentials are system:anonymous
	BootstrapTokens bool     // Secrets of type bootstrap.kubernetes.io/token
	ClientCAFile    string   // a further authority of client certificates
	TokenFile       string   // CSV: token, user, uid, "group,group"
	APIAudiences    []string // of tokens meant for this API; none is the issuers of service account tokens
	OIDC            OIDC
	Webhook         TokenWebhook
	FrontProxy      FrontProxy
	ServiceAccounts ServiceAccountTokens
}

// ServiceAccountTokens is how the cluster's own tokens are issued.
type ServiceAccountTokens struct {
	Issuers     []string      // the first one signs, all are believed; none is https://kubernetes.default.svc.cluster.local
	JWKSURI     string        // where others find the keys; "" is this server
	MaxLifetime time.Duration // of a token that is asked for; 0 is no limit
	Extend      bool          // mounted tokens live for a year, and their use after an hour is counted
}

// OIDC is one OpenID Connect issuer whose tokens are believed.
type OIDC struct {
	IssuerURL      string
	ClientID       string // the audience of the tokens
	CAFile         string // authority of the issuer's certificate; "" is the host's
	UsernameClaim  string
	UsernamePrefix string // "" is the issuer's URL and # unless the claim is email; "-" is none
	GroupsClaim    string
	GroupsPrefix   string
	SigningAlgs    []string
	RequiredClaims []string // claim=value
}

// TokenWebhook is a service that is asked about tokens nobody else knows.
type TokenWebhook struct {
	ConfigFile string // a kubeconfig
	Version    string // of the TokenReview
	CacheTTL   time.Duration
}

// FrontProxy may name the user of a request in headers, beside the aggregator.
type FrontProxy struct {
	CAFile              string   // authority of its certificate; "" is no such proxy
	Names               []string // common names it may have; none is any
	UsernameHeaders     []string
	UIDHeaders          []string
	GroupHeaders        []string
	ExtraHeaderPrefixes []string
}

// DefaultAuthentication answers upstream's defaults, and lets nodes join by
// bootstrap tokens as kubeadm does.
func DefaultAuthentication() Authentication {
	return Authentication{
		Anonymous: true, BootstrapTokens: true,
		OIDC:    OIDC{UsernameClaim: "sub", SigningAlgs: []string{"RS256"}},
		Webhook: TokenWebhook{Version: "v1beta1", CacheTTL: 2 * time.Minute},

		ServiceAccounts: ServiceAccountTokens{Extend: true},
	}
}

func (c *Config) validateAuthentication() error {
	a := &c.Authentication
	for _, f := range []file{
		{"authentication-config", a.ConfigFile}, {"client-ca-file", a.ClientCAFile}, {"token-auth-file", a.TokenFile}, {"oidc-ca-file", a.OIDC.CAFile},
		{"authentication-token-webhook-config-file", a.Webhook.ConfigFile}, {"requestheader-client-ca-file", a.FrontProxy.CAFile},
	} {
		if err := f.validate(); err != nil {
			return err
		}
	}
	if slices.Contains(a.APIAudiences, "") {
		return &Error{"api-audiences", "one of them is empty", "name what tokens for this API are issued to"}
	}
	if a.ConfigFile != "" && a.OIDC.set() {
		return &Error{"authentication-config", "authentication-config file and oidc-* flags are mutually exclusive", "describe the issuer in the file"}
	}
	for _, check := range []func() error{a.OIDC.validate, a.Webhook.validate, a.FrontProxy.validate, a.ServiceAccounts.validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// file is a path that a key names.
type file struct{ key, path string }

func (f file) validate() error {
	if f.path != "" && !filepath.IsAbs(f.path) {
		return &Error{f.key, fmt.Sprintf("%q is not an absolute path", f.path), "give a path that begins with /"}
	}
	return nil
}

// set says whether anything of it was asked for.
func (o *OIDC) set() bool {
	d := DefaultAuthentication().OIDC
	return o.IssuerURL != "" || o.ClientID != "" || o.CAFile != "" || o.UsernameClaim != d.UsernameClaim || o.UsernamePrefix != "" ||
		o.GroupsClaim != "" || o.GroupsPrefix != "" || len(o.RequiredClaims) > 0 || !slices.Equal(o.SigningAlgs, d.SigningAlgs)
}

func (o *OIDC) validate() error {
	if !o.set() {
		return nil
	}
	if o.IssuerURL == "" || o.ClientID == "" {
		return &Error{"oidc-issuer-url", "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set", "give both"}
	}
	if u, err := url.Parse(o.IssuerURL); err != nil || u.Scheme != "https" || u.Host == "" {
		return &Error{"oidc-issuer-url", fmt.Sprintf("%q is not an https URL", o.IssuerURL), "give one such as https://issuer.example.com"}
	}
	known := []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
	for _, alg := range o.SigningAlgs {
		if !slices.Contains(known, alg) {
			return &Error{"oidc-signing-algs", fmt.Sprintf("unsupported signing alg: %q", alg), "choose among " + strings.Join(known, ", ")}
		}
	}
	for _, claim := range o.RequiredClaims {
		if name, _, ok := strings.Cut(claim, "="); !ok || name == "" {
			return &Error{"oidc-required-claim", fmt.Sprintf("%q is not claim=value", claim), "give one such as team=platform"}
		}
	}
	return nil
}

func (w *TokenWebhook) validate() error {
	if w.ConfigFile == "" {
		return nil
	}
	if err := webhookVersion("authentication-token-webhook-version", w.Version); err != nil {
		return err
	}
	return notNegative("authentication-token-webhook-cache-ttl", w.CacheTTL)
}

// webhookVersion accepts the versions in which reviews can be sent.
func webhookVersion(key, version string) error {
	if version != "v1" && version != "v1beta1" {
		return &Error{key, fmt.Sprintf("%q is not known", version), "use v1 or v1beta1"}
	}
	return nil
}

func notNegative(key string, d time.Duration) error {
	if d < 0 {
		return &Error{key, fmt.Sprintf("%s is negative", d), "give a duration such as 30s, 0 for none"}
	}
	return nil
}

func (p *FrontProxy) validate() error {
	for _, list := range []struct {
		key    string
		values []string
	}{
		{"requestheader-allowed-names", p.Names}, {"requestheader-username-headers", p.UsernameHeaders}, {"requestheader-uid-headers", p.UIDHeaders},
		{"requestheader-group-headers", p.GroupHeaders}, {"requestheader-extra-headers-prefix", p.ExtraHeaderPrefixes},
	} {
		if len(list.values) > 0 && p.CAFile == "" {
			return &Error{list.key, "is of no use without a proxy", "name the proxy's authority with requestheader-client-ca-file"}
		}
		if slices.ContainsFunc(list.values, func(v string) bool { return strings.TrimSpace(v) == "" }) {
			return &Error{list.key, "one of the values is empty", "remove it"}
		}
	}
	if p.CAFile != "" && len(p.UsernameHeaders) == 0 {
		return &Error{"requestheader-username-headers", "the proxy has no header to name a user in", "give one, X-Remote-User by custom"}
	}
	return nil
}

func (s *ServiceAccountTokens) validate() error {
	for i, issuer := range s.Issuers {
		switch _, err := url.Parse(issuer); {
		case issuer == "":
			return &Error{"service-account-issuer", "should not be an empty string", "give one such as https://kubernetes.example.com"}
		case strings.Contains(issuer, ":") && err != nil:
			return &Error{"service-account-issuer", fmt.Sprintf("%q contained a ':' but was not a valid URL", issuer), "give one such as https://kubernetes.example.com"}
		case slices.Contains(s.Issuers[:i], issuer):
			return &Error{"service-account-issuer", fmt.Sprintf("%q is already specified", issuer), "name each once"}
		}
	}
	if u, err := url.Parse(s.JWKSURI); s.JWKSURI != "" && (err != nil || u.Scheme != "https") {
		return &Error{"service-account-jwks-uri", fmt.Sprintf("requires https scheme, parsed as: %q", s.JWKSURI), "give an https URL"}
	}
	if m := s.MaxLifetime; m != 0 && (m < time.Hour || m > 1<<32*time.Second) {
		return &Error{"service-account-max-token-expiration", m.String() + " is not between 1 hour and 2^32 seconds", "give a duration such as 24h"}
	}
	return nil
}
