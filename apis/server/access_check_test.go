package server_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"skiff/apis/server"
	"skiff/config"
)

func TestCheckAccess(t *testing.T) {
	t.Parallel()
	hook := newAccessService(t, "v1")
	service := kubeconfig(t, hook.Server)
	dir := t.TempDir()
	n := 0
	file := func(content string) string {
		n++
		return write(t, filepath.Join(dir, string(rune('a'+n))), []byte(content))
	}
	junk, absent := file("junk"), filepath.Join(dir, "absent")
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: "
	authentication := func(rest string) string { return file(head + "AuthenticationConfiguration\n" + rest) }
	authorization := func(rest string) string {
		return file(head + "AuthorizationConfiguration\nauthorizers:\n" + rest)
	}
	type both struct {
		config.Authentication
		z config.Authorization
	}
	check := func(change func(*both)) error {
		b := both{config.DefaultAuthentication(), config.DefaultAuthorization()}
		change(&b)
		return server.CheckAccess(b.Authentication, b.z)
	}
	for _, c := range []struct {
		key, says string
		change    func(*both)
	}{
		{"", "", func(*both) {}},
		{"", "", func(b *both) {
			b.TokenFile, b.Webhook.ConfigFile, b.z.ConfigFile = file("t,u,i"), service, write(t, filepath.Join(dir, "z"), chainOf(service, service, "true"))
		}},
		{"client-ca-file", "absent", func(b *both) { b.ClientCAFile = absent }},
		{"requestheader-client-ca-file", "certificate", func(b *both) { b.FrontProxy.CAFile = junk }},
		{"oidc-ca-file", "certificate", func(b *both) { b.OIDC.CAFile = junk }},
		{"token-auth-file", "at least 3 columns", func(b *both) { b.TokenFile = junk }},
		{"authentication-token-webhook-config-file", junk, func(b *both) { b.Webhook.ConfigFile = junk }},
		{"authentication-config", "absent", func(b *both) { b.ConfigFile = absent }},
		{"authentication-config", "empty", func(b *both) { b.ConfigFile = file("") }},
		{"authentication-config", "unknown field", func(b *both) { b.ConfigFile = authentication("jwts: []") }},
		{"authentication-config", "https", func(b *both) {
			b.ConfigFile = authentication("jwt: [{issuer: {url: http://x, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]")
		}},
		{"authentication-config", "disallowed issuers", func(b *both) {
			b.ConfigFile = authentication("jwt: [{issuer: {url: https://kubernetes.default.svc.cluster.local, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]")
		}},
		{"authentication-config", "compilation failed", func(b *both) {
			b.ConfigFile = authentication("jwt: [{issuer: {url: https://x, audiences: [a]}, claimMappings: {username: {expression: 'claims.'}}}]")
		}},
		{"authentication-config", "--anonymous-auth flag cannot be set", func(b *both) { b.Anonymous, b.ConfigFile = false, authentication("anonymous: {enabled: true}") }},
		{"oidc-issuer-url", "username", func(b *both) {
			b.OIDC.IssuerURL, b.OIDC.ClientID, b.OIDC.UsernameClaim = "https://x", "a", ""
		}},
		{"authorization-webhook-config-file", junk, func(b *both) { b.z.Webhook.ConfigFile = junk }},
		{"authorization-policy-file", "line 1", func(b *both) { b.z.PolicyFile = junk }},
		{"authorization-config", "absent", func(b *both) { b.z.ConfigFile = absent }},
		{"authorization-config", "failed to load", func(b *both) { b.z.ConfigFile = junk }},
		{"authorization-config", "at least one", func(b *both) { b.z.ConfigFile = authorization("") }},
		{"authorization-config", "expected name rbac", func(b *both) { b.z.ConfigFile = authorization("- {type: RBAC, name: roles}") }},
		{"authorization-config", "needs --authorization-policy-file", func(b *both) { b.z.ConfigFile = authorization("- {type: ABAC, name: abac}") }},
		{"authorization-config", "Duplicate", func(b *both) {
			b.z.ConfigFile = authorization("- {type: RBAC, name: rbac}\n- {type: RBAC, name: rbac}")
		}},
		{"authorization-config", "nowhere", func(b *both) {
			b.z.ConfigFile = write(t, filepath.Join(dir, "nowhere.yaml"), chainOf("/nowhere", "/nowhere", "true"))
		}},
	} {
		err := check(c.change)
		if c.key == "" {
			if err != nil {
				t.Errorf("a good one: %v", err)
			}
			continue
		}
		var bad *config.Error
		if !errors.As(err, &bad) || bad.Key != c.key || !strings.Contains(bad.Problem, c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want it to say %q", c.key, err, c.says)
		}
	}
}
