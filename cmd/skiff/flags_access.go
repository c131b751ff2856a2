package main

import (
	"strings"

	"github.com/spf13/pflag"

	"skiff/config"
)

// bindAuthentication adds the flags of authentication. They have upstream's names.
func (s *settings) bindAuthentication(f *pflag.FlagSet) {
	a := &s.Authentication
	f.StringVar(&a.ConfigFile, "authentication-config", a.ConfigFile, "AuthenticationConfiguration file with the issuers of tokens and who may be anonymous; its changes are followed")
	f.BoolVar(&a.Anonymous, "anonymous-auth", a.Anonymous, "take requests without credentials for system:anonymous")
	f.BoolVar(&a.BootstrapTokens, "enable-bootstrap-token-auth", a.BootstrapTokens, "believe tokens of Secrets of type bootstrap.kubernetes.io/token in kube-system")
	f.StringVar(&a.ClientCAFile, "client-ca-file", a.ClientCAFile, "further authority of client certificates, beside the cluster's own")
	f.StringVar(&a.TokenFile, "token-auth-file", a.TokenFile, "CSV file of tokens, their users, uids and groups")
	f.StringSliceVar(&a.APIAudiences, "api-audiences", a.APIAudiences, "audiences of tokens that are meant for this API (default the issuer of service account tokens)")
	t := &a.ServiceAccounts
	f.StringArrayVar(&t.Issuers, "service-account-issuer", t.Issuers, "issuer of service account tokens; may be repeated: the first one signs, all are believed (default https://kubernetes.default.svc.cluster.local)")
	f.StringVar(&t.JWKSURI, "service-account-jwks-uri", t.JWKSURI, "https URL at which others find the keys of service account tokens (default this server's)")
	f.DurationVar(&t.MaxLifetime, "service-account-max-token-expiration", t.MaxLifetime, "longest life of a service account token that is asked for; 0 is no limit")
	f.BoolVar(&t.Extend, "service-account-extend-token-expiration", t.Extend, "let mounted tokens live for a year, for clients that don't read them anew")
	bindOIDC(f, &a.OIDC)
	w := &a.Webhook
	f.StringVar(&w.ConfigFile, "authentication-token-webhook-config-file", w.ConfigFile, "kubeconfig of a service that is asked about bearer tokens")
	f.StringVar(&w.Version, "authentication-token-webhook-version", w.Version, "version of the TokenReview that it is sent: v1 or v1beta1")
	f.DurationVar(&w.CacheTTL, "authentication-token-webhook-cache-ttl", w.CacheTTL, "how long its answers are believed")
	p := &a.FrontProxy
	f.StringVar(&p.CAFile, "requestheader-client-ca-file", p.CAFile, "authority of a proxy that names users in headers")
	f.StringSliceVar(&p.Names, "requestheader-allowed-names", p.Names, "common names of the proxy's certificate (default any of that authority)")
	f.StringSliceVar(&p.UsernameHeaders, "requestheader-username-headers", p.UsernameHeaders, "headers of the user name")
	f.StringSliceVar(&p.UIDHeaders, "requestheader-uid-headers", p.UIDHeaders, "headers of the user's uid")
	f.StringSliceVar(&p.GroupHeaders, "requestheader-group-headers", p.GroupHeaders, "headers of the groups")
	f.StringSliceVar(&p.ExtraHeaderPrefixes, "requestheader-extra-headers-prefix", p.ExtraHeaderPrefixes, "beginnings of the headers of further attributes")
}

func bindOIDC(f *pflag.FlagSet, o *config.OIDC) {
	f.StringVar(&o.IssuerURL, "oidc-issuer-url", o.IssuerURL, "https URL of an OpenID Connect issuer whose tokens are believed")
	f.StringVar(&o.ClientID, "oidc-client-id", o.ClientID, "audience of its tokens")
	f.StringVar(&o.CAFile, "oidc-ca-file", o.CAFile, "authority of the issuer's certificate (default those of the host)")
	f.StringVar(&o.UsernameClaim, "oidc-username-claim", o.UsernameClaim, "claim that is the user name")
	f.StringVar(&o.UsernamePrefix, "oidc-username-prefix", o.UsernamePrefix, "what user names begin with; - is nothing (default the issuer's URL and #, unless the claim is email)")
	f.StringVar(&o.GroupsClaim, "oidc-groups-claim", o.GroupsClaim, "claim that lists the groups")
	f.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", o.GroupsPrefix, "what groups begin with")
	f.StringSliceVar(&o.SigningAlgs, "oidc-signing-algs", o.SigningAlgs, "signing algorithms that are accepted")
	f.StringArrayVar(&o.RequiredClaims, "oidc-required-claim", o.RequiredClaims, "claim=value that a token must have; may be repeated")
}

// bindAuthorization adds the flags of authorization. They have upstream's names.
func (s *settings) bindAuthorization(f *pflag.FlagSet) {
	a := &s.Authorization
	f.StringVar(&a.ConfigFile, "authorization-config", a.ConfigFile, "AuthorizationConfiguration file with the chain of authorizers; its changes are followed")
	f.StringSliceVar(&a.Modes, "authorization-mode", a.Modes, "authorizers in the order they are asked in, of "+strings.Join(config.AuthorizationModes(), ", ")+" (default "+strings.Join(config.DefaultModes(), ",")+")")
	f.StringVar(&a.PolicyFile, "authorization-policy-file", a.PolicyFile, "file of policies for mode ABAC, one JSON object a line")
	w := &a.Webhook
	f.StringVar(&w.ConfigFile, "authorization-webhook-config-file", w.ConfigFile, "kubeconfig of the service that mode Webhook asks")
	f.StringVar(&w.Version, "authorization-webhook-version", w.Version, "version of the SubjectAccessReview that it is sent: v1 or v1beta1")
	f.DurationVar(&w.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", w.AuthorizedTTL, "how long its yes is believed")
	f.DurationVar(&w.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", w.UnauthorizedTTL, "how long its no is believed")
}
