package server

import (
	"crypto/ecdsa"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server/authn"
	"skiff/apis/server/authz/node"
	"skiff/apis/server/authz/rbac"
	"skiff/apis/server/loopback"
	"skiff/config/manifests"
)

// FrontProxyName is the common name of the certificate with which the
// aggregator, and only it, may assert users in headers.
const FrontProxyName = "front-proxy-client"

// AccessConfig is what identities and permissions are read from.
type AccessConfig struct {
	Loopback  *loopback.Transport
	Informers informers.SharedInformerFactory
	// ClientCAFile signs client certificates, FrontProxyCAFile the proxies that
	// may assert a user in headers.
	ClientCAFile, FrontProxyCAFile string
	TokenKey                       *ecdsa.PrivateKey
}

// Access is who a request is from and what it may do.
type Access struct {
	*authn.Authn

	Authorizer   authorizer.Authorizer
	RuleResolver authorizer.RuleResolver
	// Rules answers in the terms of roles, for escalation checks.
	Rules *rbac.Evaluator
}

// NewAccess registers the informers that permissions are read from. Client
// requests made before the server runs fail and are retried.
func NewAccess(c AccessConfig) (*Access, error) {
	client, err := kubernetes.NewForConfig(c.Loopback.Config(user.APIServerUser, user.SystemPrivilegedGroup))
	if err != nil {
		return nil, fmt.Errorf("making the authentication client: %w", err)
	}
	a := &Access{}
	if a.Authn, err = authn.New(authn.Config{
		ClientCAFile: c.ClientCAFile, FrontProxyCAFile: c.FrontProxyCAFile, FrontProxyName: FrontProxyName,
		TokenKey: c.TokenKey, Client: client,
	}); err != nil {
		return nil, err
	}
	if a.Rules, err = rbac.NewEvaluator(c.Informers.Rbac().V1()); err != nil {
		return nil, err
	}
	rules, err := nodeRules()
	if err != nil {
		return nil, err
	}
	nodes, err := node.New(c.Informers.Core().V1().Pods(), client, rules)
	if err != nil {
		return nil, err
	}
	roles := rbac.Authorizer{Evaluator: a.Rules}
	a.RuleResolver = roles
	a.Authorizer, err = union.New(
		union.NamedAuthorizer{AuthorizerName: "PrivilegedGroup", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
		union.NamedAuthorizer{AuthorizerName: "Node", Authorizer: nodes},
		union.NamedAuthorizer{AuthorizerName: "RBAC", Authorizer: roles},
	)
	return a, err
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
