package server

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"skiff/apis/server/authn"
	"skiff/apis/server/authz"
	"skiff/apis/server/authz/abac"
	"skiff/apis/server/authz/node"
	"skiff/apis/server/authz/rbac"
	"skiff/apis/server/loopback"
	"skiff/config"
	"skiff/config/manifests"
)

// FrontProxyName is the common name of the certificate with which the
// aggregator, and only it, may assert users in headers.
const FrontProxyName = "front-proxy-client"

// AccessConfig is what identities and permissions are read from.
type AccessConfig struct {
	Loopback  *loopback.Transport
	Informers informers.SharedInformerFactory
	// ClientCAFile signs client certificates, FrontProxyCAFile the aggregators that
	// may assert a user in headers.
	ClientCAFile, FrontProxyCAFile string
	TokenKey                       *ecdsa.PrivateKey
	Authentication                 config.Authentication
	Authorization                  config.Authorization
}

// Access is who a request is from and what it may do.
type Access struct {
	*authn.Authn

	Authorizer   authorizer.Authorizer
	RuleResolver authorizer.RuleResolver
	// Rules answers in the terms of roles, for escalation checks.
	Rules *rbac.Evaluator

	chain *authz.Chain
}

// NewAccess registers the informers that permissions are read from. Client
// requests made before the server runs fail and are retried.
func NewAccess(c AccessConfig) (*Access, error) {
	client, err := kubernetes.NewForConfig(c.Loopback.Config(user.APIServerUser, user.SystemPrivilegedGroup))
	if err != nil {
		return nil, fmt.Errorf("making the authentication client: %w", err)
	}
	a := &Access{}
	if slices.Contains(c.Authorization.Modes, "AlwaysAllow") {
		c.Authentication.Anonymous = false // everybody could do everything
	}
	if a.Authn, err = authn.New(authn.Config{
		Authentication: c.Authentication,
		OwnCAFile:      c.ClientCAFile, AggregatorCAFile: c.FrontProxyCAFile, AggregatorName: FrontProxyName,
		TokenKey: c.TokenKey, Client: client,
	}); err != nil {
		return nil, fmt.Errorf("building authentication: %w", err)
	}
	if a.Rules, err = rbac.NewEvaluator(c.Informers.Rbac().V1()); err != nil {
		return nil, err
	}
	wanted, data, err := authz.Configuration(c.Authorization)
	if err != nil {
		return nil, fmt.Errorf("building authorization: %w", err)
	}
	modes, err := a.modes(c, client, wanted)
	if err != nil {
		return nil, err
	}
	if a.chain, err = authz.New(c.Authorization, wanted, data, modes); err != nil {
		return nil, fmt.Errorf("building authorization: %w", err)
	}
	a.Authorizer, a.RuleResolver = a.chain, a.chain
	return a, nil
}

// modes makes the authorizers that the configuration asks for.
func (a *Access) modes(c AccessConfig, client kubernetes.Interface, wanted *apiserver.AuthorizationConfiguration) (authz.Modes, error) {
	m := authz.Modes{RBAC: rbac.Authorizer{Evaluator: a.Rules}}
	if authz.Has(wanted, "Node") {
		rules, err := nodeRules()
		if err != nil {
			return m, err
		}
		nodes, err := node.New(c.Informers.Core().V1().Pods(), client, rules)
		if err != nil {
			return m, err
		}
		m.Node = nodes
	}
	if authz.Has(wanted, "ABAC") {
		policies, err := abac.Read(c.Authorization.PolicyFile)
		if err != nil {
			return m, err
		}
		m.ABAC = policies
	}
	return m, nil
}

// runAccess follows the configuration files until ctx ends.
func (s *Server) runAccess(ctx context.Context) {
	for _, run := range []func(context.Context, string) error{s.config.Access.Run, s.config.Access.chain.Run} {
		s.background.Go(func() {
			if err := run(ctx, s.base.APIServerID); err != nil {
				klog.FromContext(ctx).Error(err, "Following who may do what")
			}
		})
	}
}

// nodeRules are those of the role system:node, which upstream's node authorizer
// falls back to as well.
func nodeRules() ([]rbacv1.PolicyRule, error) {
	roles, err := manifests.ClusterRoles()
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		if r.Name == "system:node" {
			return r.Rules, nil
		}
	}
	return nil, fmt.Errorf("the default roles have no %q", "system:node")
}
