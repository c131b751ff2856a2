package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Authorization is who decides what a request may.
type Authorization struct {
	// ConfigFile is an apiserver.config.k8s.io AuthorizationConfiguration, which is
	// followed while the server runs; it takes the place of Modes and Webhook.
	ConfigFile string
	Modes      []string // in the order they are asked in; none is DefaultModes
	PolicyFile string   // of mode ABAC
	Webhook    AccessWebhook
}

// AccessWebhook is the service that mode Webhook asks.
type AccessWebhook struct {
	ConfigFile      string // a kubeconfig
	Version         string // of the SubjectAccessReview
	AuthorizedTTL   time.Duration
	UnauthorizedTTL time.Duration
}

// AuthorizationModes lists the modes there are, with upstream's names.
func AuthorizationModes() []string {
	return []string{"AlwaysAllow", "AlwaysDeny", "ABAC", "Webhook", "RBAC", "Node"}
}

// DefaultModes are in force where none is asked for: those of kubeadm.
func DefaultModes() []string { return []string{"Node", "RBAC"} }

// DefaultAuthorization answers upstream's defaults.
func DefaultAuthorization() Authorization {
	return Authorization{Webhook: AccessWebhook{Version: "v1beta1", AuthorizedTTL: 5 * time.Minute, UnauthorizedTTL: 30 * time.Second}}
}

func (c *Config) validateAuthorization() error {
	a := &c.Authorization
	for _, f := range []file{
		{"authorization-config", a.ConfigFile}, {"authorization-policy-file", a.PolicyFile}, {"authorization-webhook-config-file", a.Webhook.ConfigFile},
	} {
		if err := f.validate(); err != nil {
			return err
		}
	}
	if a.ConfigFile != "" {
		if len(a.Modes) > 0 || a.Webhook != DefaultAuthorization().Webhook {
			return &Error{"authorization-config", "can not be specified when --authorization-mode or --authorization-webhook-* flags are defined", "describe the authorizers in the file"}
		}
		return nil
	}
	if err := a.validateModes(); err != nil {
		return err
	}
	for _, need := range []struct{ mode, key, path string }{
		{"ABAC", "authorization-policy-file", a.PolicyFile}, {"Webhook", "authorization-webhook-config-file", a.Webhook.ConfigFile},
	} {
		switch has := slices.Contains(a.Modes, need.mode); {
		case has && need.path == "":
			return &Error{need.key, "authorization-mode " + need.mode + " needs a file", "name it"}
		case !has && need.path != "":
			return &Error{need.key, "cannot specify --" + need.key + " without mode " + need.mode, "add the mode to authorization-mode"}
		}
	}
	return a.Webhook.validate()
}

func (a *Authorization) validateModes() error {
	for i, mode := range a.Modes {
		if !slices.Contains(AuthorizationModes(), mode) {
			return &Error{"authorization-mode", fmt.Sprintf("authorization-mode %q is not a valid mode", mode), "choose among " + strings.Join(AuthorizationModes(), ", ")}
		}
		if slices.Contains(a.Modes[:i], mode) {
			return &Error{"authorization-mode", fmt.Sprintf("authorization-mode %q has mode specified more than once", a.Modes), "name each once"}
		}
	}
	return nil
}

func (w *AccessWebhook) validate() error {
	if w.ConfigFile == "" {
		return nil
	}
	if err := webhookVersion("authorization-webhook-version", w.Version); err != nil {
		return err
	}
	if err := notNegative("authorization-webhook-cache-authorized-ttl", w.AuthorizedTTL); err != nil {
		return err
	}
	return notNegative("authorization-webhook-cache-unauthorized-ttl", w.UnauthorizedTTL)
}
