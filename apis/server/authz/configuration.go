package authz

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authorization/cel"

	"skiff/config"
)

// flagTimeout and flagName are those of the one webhook that flags describe.
const (
	flagTimeout = 30 * time.Second
	flagName    = "default"
)

// Configuration answers the chain to build: out of the file, whose content it
// answers too, or out of the flags.
func Configuration(a config.Authorization) (*apiserver.AuthorizationConfiguration, []byte, error) {
	if a.ConfigFile == "" {
		return fromFlags(a), nil, nil
	}
	data, err := os.ReadFile(a.ConfigFile)
	if err != nil {
		return nil, nil, err
	}
	c, err := decode(data, cel.NewDefaultCompiler())
	return c, data, err
}

// decode reads and checks a configuration of any version.
func decode(data []byte, compiler cel.Compiler) (*apiserver.AuthorizationConfiguration, error) {
	c, err := load.LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("failed to load AuthorizationConfiguration from file: %w", err)
	}
	if errs := validation.ValidateAuthorizationConfiguration(compiler, nil, c, sets.New(config.AuthorizationModes()...), sets.New(string(apiserver.TypeWebhook))); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	var errs []error
	for _, a := range c.Authorizers {
		if want := nameOf(string(a.Type)); a.Type != apiserver.TypeWebhook && a.Name != want {
			errs = append(errs, fmt.Errorf("expected name %s for authorizer %s instead of %s", want, a.Type, a.Name))
		}
	}
	return c, errors.Join(errs...)
}

// nameOf is the name of the one authorizer of a mode.
func nameOf(mode string) string { return strings.ToLower(mode) }

func fromFlags(a config.Authorization) *apiserver.AuthorizationConfiguration {
	modes := a.Modes
	if len(modes) == 0 {
		modes = config.DefaultModes()
	}
	c := &apiserver.AuthorizationConfiguration{}
	for _, mode := range modes {
		if mode == string(apiserver.TypeWebhook) {
			c.Authorizers = append(c.Authorizers, webhookOf(a.Webhook))
			continue
		}
		c.Authorizers = append(c.Authorizers, apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode), Name: nameOf(mode)})
	}
	return c
}

func webhookOf(w config.AccessWebhook) apiserver.AuthorizerConfiguration {
	return apiserver.AuthorizerConfiguration{Type: apiserver.TypeWebhook, Name: flagName, Webhook: &apiserver.WebhookConfiguration{
		AuthorizedTTL: metav1.Duration{Duration: w.AuthorizedTTL}, CacheAuthorizedRequests: w.AuthorizedTTL != 0,
		UnauthorizedTTL: metav1.Duration{Duration: w.UnauthorizedTTL}, CacheUnauthorizedRequests: w.UnauthorizedTTL != 0,
		Timeout:                    metav1.Duration{Duration: flagTimeout},
		FailurePolicy:              apiserver.FailurePolicyNoOpinion,
		SubjectAccessReviewVersion: w.Version,
		ConnectionInfo: apiserver.WebhookConnectionInfo{
			Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &w.ConfigFile,
		},
	}}
}

// Check reports what keeps the chain from being built, the webhooks' kubeconfigs
// included. It asks none of them.
func Check(a config.Authorization) error {
	c, _, err := Configuration(a)
	if err != nil {
		return err
	}
	for _, link := range c.Authorizers {
		switch {
		case link.Type == "ABAC" && a.PolicyFile == "":
			return errors.New("authorizer type ABAC needs --authorization-policy-file")
		case link.Type != apiserver.TypeWebhook:
			continue
		}
		if _, err := (&Chain{compiler: cel.NewDefaultCompiler()}).askWebhook(link); err != nil {
			return err
		}
	}
	return nil
}
