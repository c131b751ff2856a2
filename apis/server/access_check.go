package server

import (
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/util/cert"

	"skiff/apis/server/authn"
	"skiff/apis/server/authz"
	"skiff/apis/server/authz/abac"
	"skiff/config"
)

// CheckAccess reports the first file of authentication and authorization that
// can't be used, as a *config.Error. It asks no issuer and no webhook.
func CheckAccess(a config.Authentication, z config.Authorization) error {
	certificates := func(path string) error { _, err := cert.CertsFromFile(path); return err }
	kubeconfig := func(path string) error { _, err := webhook.LoadKubeconfig(path, nil); return err }
	const authority, service = "give a readable PEM file of certificates", "give a readable kubeconfig of the service"
	for _, f := range []struct {
		key, path, remedy string
		read              func(string) error
	}{
		{"client-ca-file", a.ClientCAFile, authority, certificates},
		{"requestheader-client-ca-file", a.FrontProxy.CAFile, authority, certificates},
		{"oidc-ca-file", a.OIDC.CAFile, authority, certificates},
		{"token-auth-file", a.TokenFile, `give a readable CSV file with lines such as token,user,uid,"group,group"`, func(path string) error { _, err := tokenfile.NewCSV(path); return err }},
		{"authentication-token-webhook-config-file", a.Webhook.ConfigFile, service, kubeconfig},
		{"authentication-config", a.ConfigFile, "give a readable apiserver.config.k8s.io AuthenticationConfiguration", func(string) error { _, _, err := authn.Configuration(a); return err }},
		{"authorization-webhook-config-file", z.Webhook.ConfigFile, service, kubeconfig},
		{"authorization-policy-file", z.PolicyFile, "give a readable file with one JSON policy a line", func(path string) error { _, err := abac.Read(path); return err }},
		{"authorization-config", z.ConfigFile, "give a readable apiserver.config.k8s.io AuthorizationConfiguration", func(string) error { return authz.Check(z) }},
	} {
		if f.path == "" {
			continue
		}
		if err := f.read(f.path); err != nil {
			return unusable(f.key, f.path, err, f.remedy)
		}
	}
	return checkFlags(a)
}

// checkFlags checks the issuer that flags describe.
func checkFlags(a config.Authentication) error {
	_, _, err := authn.Configuration(a)
	if a.ConfigFile != "" || err == nil {
		return nil
	}
	return &config.Error{Key: "oidc-issuer-url", Problem: err.Error(), Remedy: "mend the oidc-* flags"}
}
