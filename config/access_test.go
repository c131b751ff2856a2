package config

import (
	"errors"
	"strings"
	"testing"
)

func TestValidateAccess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, says string
		change    func(*Config)
	}{
		{"", "", func(*Config) {}},
		{"", "", func(c *Config) {
			c.Authentication.OIDC = OIDC{IssuerURL: "https://x", ClientID: "a", UsernameClaim: "email", SigningAlgs: []string{"ES256"}, RequiredClaims: []string{"a=b=c"}}
			c.Authorization.Modes, c.Authorization.Webhook.ConfigFile = []string{"Webhook", "Node", "RBAC"}, "/k"
		}},
		{"token-auth-file", "absolute", func(c *Config) { c.Authentication.TokenFile = "x" }},
		{"api-audiences", "empty", func(c *Config) { c.Authentication.APIAudiences = []string{"a", ""} }},
		{"authentication-config", "mutually exclusive", func(c *Config) { c.Authentication.ConfigFile, c.Authentication.OIDC.GroupsClaim = "/x", "g" }},
		{"oidc-issuer-url", "together", func(c *Config) { c.Authentication.OIDC.IssuerURL = "https://x" }},
		{"oidc-issuer-url", "https", func(c *Config) { c.Authentication.OIDC.IssuerURL, c.Authentication.OIDC.ClientID = "http://x", "a" }},
		{"oidc-signing-algs", "HS256", func(c *Config) {
			c.Authentication.OIDC = OIDC{IssuerURL: "https://x", ClientID: "a", SigningAlgs: []string{"HS256"}}
		}},
		{"oidc-required-claim", "claim=value", func(c *Config) {
			c.Authentication.OIDC = OIDC{IssuerURL: "https://x", ClientID: "a", RequiredClaims: []string{"team"}}
		}},
		{"authentication-token-webhook-version", "v2", func(c *Config) { c.Authentication.Webhook = TokenWebhook{ConfigFile: "/x", Version: "v2"} }},
		{"authentication-token-webhook-cache-ttl", "negative", func(c *Config) {
			c.Authentication.Webhook = TokenWebhook{ConfigFile: "/x", Version: "v1", CacheTTL: -1}
		}},
		{"requestheader-username-headers", "no header", func(c *Config) { c.Authentication.FrontProxy.CAFile = "/x" }},
		{"requestheader-group-headers", "without a proxy", func(c *Config) { c.Authentication.FrontProxy.GroupHeaders = []string{"X"} }},
		{"requestheader-allowed-names", "empty", func(c *Config) {
			c.Authentication.FrontProxy = FrontProxy{CAFile: "/x", Names: []string{" "}, UsernameHeaders: []string{"X"}}
		}},
		{"service-account-issuer", "already", func(c *Config) { c.Authentication.ServiceAccounts.Issuers = []string{"a", "a"} }},
		{"service-account-issuer", "empty", func(c *Config) { c.Authentication.ServiceAccounts.Issuers = []string{""} }},
		{"service-account-jwks-uri", "https", func(c *Config) { c.Authentication.ServiceAccounts.JWKSURI = "http://x" }},
		{"service-account-max-token-expiration", "1 hour", func(c *Config) { c.Authentication.ServiceAccounts.MaxLifetime = 1 }},
		{"authorization-mode", "not a valid mode", func(c *Config) { c.Authorization.Modes = []string{"rbac"} }},
		{"authorization-mode", "more than once", func(c *Config) { c.Authorization.Modes = []string{"RBAC", "RBAC"} }},
		{"authorization-webhook-config-file", "needs a file", func(c *Config) { c.Authorization.Modes = []string{"Webhook"} }},
		{"authorization-webhook-config-file", "without mode Webhook", func(c *Config) { c.Authorization.Webhook.ConfigFile = "/x" }},
		{"authorization-policy-file", "needs a file", func(c *Config) { c.Authorization.Modes = []string{"ABAC"} }},
		{"authorization-policy-file", "without mode ABAC", func(c *Config) { c.Authorization.PolicyFile = "/x" }},
		{"authorization-config", "can not be specified", func(c *Config) { c.Authorization.ConfigFile, c.Authorization.Modes = "/x", []string{"RBAC"} }},
		{"authorization-webhook-version", "v2", func(c *Config) {
			c.Authorization.Modes, c.Authorization.Webhook.ConfigFile, c.Authorization.Webhook.Version = []string{"Webhook"}, "/x", "v2"
		}},
	} {
		cfg := Default()
		c.change(&cfg)
		err := cfg.Validate()
		if c.key == "" {
			if err != nil {
				t.Errorf("a good one: %v", err)
			}
			continue
		}
		var bad *Error
		if !errors.As(err, &bad) || bad.Key != c.key || !strings.Contains(bad.Problem, c.says) {
			t.Errorf("%s: %v, want it to say %q", c.key, err, c.says)
		}
	}
}
