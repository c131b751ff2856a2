package authn

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/utils/ptr"

	"skiff/config"
)

// Configuration answers the OpenID issuers to believe and, if the file says so,
// who may be anonymous: out of the file, whose content it answers too, or out of
// the flags. What it answers is valid.
func Configuration(a config.Authentication) (*apiserver.AuthenticationConfiguration, []byte, error) {
	if a.ConfigFile == "" {
		out, err := fromFlags(a.OIDC)
		if err != nil {
			return nil, nil, err
		}
		return out, nil, validate(out, issuersOf(a.ServiceAccounts))
	}
	data, err := os.ReadFile(a.ConfigFile)
	if err != nil {
		return nil, nil, err
	}
	out, err := decode(data)
	if err != nil {
		return nil, nil, err
	}
	if out.Anonymous != nil && !a.Anonymous {
		return nil, nil, field.Forbidden(field.NewPath("anonymous"), "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
	}
	return out, data, validate(out, issuersOf(a.ServiceAccounts))
}

// decode reads a configuration of any version, strictly.
func decode(data []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(data) == 0 {
		return nil, errors.New("empty config data")
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	o, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	out, ok := o.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected AuthenticationConfiguration, got %T", o)
	}
	return out, nil
}

// validate keeps the issuers of the cluster's own tokens apart from all others.
func validate(c *apiserver.AuthenticationConfiguration, own []string) error {
	return validation.ValidateAuthenticationConfiguration(cel.NewDefaultCompiler(), c, own).ToAggregate()
}

// fromFlags describes the one issuer that flags can name.
func fromFlags(o config.OIDC) (*apiserver.AuthenticationConfiguration, error) {
	out := &apiserver.AuthenticationConfiguration{}
	if o.IssuerURL == "" {
		return out, nil
	}
	jwt := apiserver.JWTAuthenticator{
		Issuer: apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{
			Username: apiserver.PrefixedClaimOrExpression{Claim: o.UsernameClaim, Prefix: ptr.To(usernamePrefix(o))},
		},
	}
	if o.GroupsClaim != "" {
		jwt.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: ptr.To(o.GroupsPrefix)}
	}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		jwt.Issuer.CertificateAuthority = string(ca)
	}
	for _, claim := range o.RequiredClaims {
		name, value, _ := strings.Cut(claim, "=")
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: name, RequiredValue: value})
	}
	out.JWT = []apiserver.JWTAuthenticator{jwt}
	return out, nil
}

// usernamePrefix keeps users of the issuer apart from all others, unless told
// otherwise. E-mail addresses are taken to be unique (as upstream has it).
func usernamePrefix(o config.OIDC) string {
	switch {
	case o.UsernamePrefix == "-":
		return ""
	case o.UsernamePrefix == "" && o.UsernameClaim != "email":
		return o.IssuerURL + "#"
	}
	return o.UsernamePrefix
}
