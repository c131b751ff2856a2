// Package authz decides what a request may: a chain of authorizers is asked one
// after the other until one has an opinion. Its order and its webhooks can change
// with a file while requests are served.
package authz

import (
	"context"
	"fmt"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/pkg/authorization/metrics"
	"k8s.io/apiserver/pkg/authorization/union"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	webhookmetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	"k8s.io/client-go/rest"

	"skiff/config"
)

// Resolver decides, and can list what it would allow.
type Resolver interface {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// Modes are the authorizers that need parts of the server. Those that the chain
// didn't begin with are never asked, and may be nil.
type Modes struct{ Node, RBAC, ABAC Resolver }

// Chain is the authorizers in their order, behind the group system:masters that
// may do everything.
type Chain struct {
	modes    Modes
	initial  sets.Set[apiserver.AuthorizerType]
	compiler cel.Compiler
	follow   *follower // of the configuration file; nil without one
	current  atomic.Pointer[links]
}

var _ Resolver = (*Chain)(nil)

// links is the chain of one configuration.
type links struct {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// New makes the chain that Configuration describes; data is the file's content.
func New(a config.Authorization, c *apiserver.AuthorizationConfiguration, data []byte, m Modes) (*Chain, error) {
	z := &Chain{modes: m, initial: types(c), compiler: cel.NewDefaultCompiler()}
	if err := z.set(c); err != nil {
		return nil, err
	}
	if a.ConfigFile != "" {
		z.follow = newFollower(a.ConfigFile, c, data, z)
	}
	return z, nil
}

// Run follows the configuration file, if there is one, until ctx ends. server
// names this server in metrics.
func (z *Chain) Run(ctx context.Context, server string) error {
	if z.follow == nil {
		<-ctx.Done()
		return nil
	}
	z.follow.run(ctx, server)
	return nil
}

// Authorize implements authorizer.Authorizer.
func (z *Chain) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	return z.current.Load().Authorize(ctx, a)
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (z *Chain) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return z.current.Load().ConditionsAwareAuthorize(ctx, a)
}

// EvaluateConditions implements authorizer.Authorizer.
func (z *Chain) EvaluateConditions(ctx context.Context, d authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return z.current.Load().EvaluateConditions(ctx, d, data)
}

// RulesFor implements authorizer.RuleResolver.
func (z *Chain) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return z.current.Load().RulesFor(ctx, u, namespace)
}

// set exchanges the chain for the one of a valid configuration.
func (z *Chain) set(c *apiserver.AuthorizationConfiguration) error {
	all := []union.NamedAuthorizer{{
		AuthorizerName: "kubernetes.io/system-privileged-group",
		Authorizer:     authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup),
	}}
	var rules []authorizer.RuleResolver
	for _, a := range c.Authorizers {
		r, err := z.link(a)
		if err != nil {
			return err
		}
		all = append(all, union.NamedAuthorizer{AuthorizerName: a.Name, Authorizer: metrics.InstrumentedAuthorizer(string(a.Type), a.Name, r)})
		rules = append(rules, r)
	}
	chain, err := union.New(all...)
	if err != nil {
		return err
	}
	z.current.Store(&links{chain, union.NewRuleResolvers(rules...)})
	return nil
}

func (z *Chain) link(a apiserver.AuthorizerConfiguration) (Resolver, error) {
	switch a.Type {
	case apiserver.TypeWebhook:
		return z.askWebhook(a)
	case "AlwaysAllow":
		return authorizerfactory.NewAlwaysAllowAuthorizer(), nil
	case "AlwaysDeny":
		return authorizerfactory.NewAlwaysDenyAuthorizer(), nil
	}
	if !z.initial.Has(a.Type) {
		return nil, fmt.Errorf("authorizer type %s is not allowed if it was not enabled at initial server startup", a.Type)
	}
	r := map[apiserver.AuthorizerType]Resolver{"Node": z.modes.Node, "RBAC": z.modes.RBAC, "ABAC": z.modes.ABAC}[a.Type]
	if r == nil {
		return nil, fmt.Errorf("unknown authorization mode %s specified", a.Type)
	}
	return r, nil
}

// webhookMetrics are those of upstream's server: requests aren't counted.
type webhookMetrics struct {
	webhookmetrics.NoopRequestMetrics
	webhookmetrics.WebhookMetrics
	cel.MatcherMetrics
}

func (z *Chain) askWebhook(a apiserver.AuthorizerConfiguration) (Resolver, error) {
	w := a.Webhook
	client, err := connection(w.ConnectionInfo)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of the authorization webhook %s: %w", a.Name, err)
	}
	if w.Timeout.Duration != 0 {
		client.Timeout = w.Timeout.Duration
	}
	onError := authorizer.DecisionNoOpinion
	if w.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	yes, no := w.AuthorizedTTL.Duration, w.UnauthorizedTTL.Duration
	if !w.CacheAuthorizedRequests {
		yes = 0
	}
	if !w.CacheUnauthorizedRequests {
		no = 0
	}
	r, err := webhook.New(client, w.SubjectAccessReviewVersion, yes, no, *webhook.DefaultRetryBackoff(), onError, w.MatchConditions, a.Name,
		webhookMetrics{WebhookMetrics: webhookmetrics.NewWebhookMetrics(), MatcherMetrics: cel.NewMatcherMetrics()}, z.compiler)
	if err != nil {
		return nil, fmt.Errorf("making the client of the authorization webhook %s: %w", a.Name, err)
	}
	return r, nil
}

// connection is the way to the service: a file's, or the one that a pod has to its
// own cluster.
func connection(c apiserver.WebhookConnectionInfo) (*rest.Config, error) {
	if c.KubeConfigFile == nil {
		return rest.InClusterConfig()
	}
	return webhookutil.LoadKubeconfig(*c.KubeConfigFile, nil)
}

// types are those of the authorizers that have to be in the chain from the start on.
func types(c *apiserver.AuthorizationConfiguration) sets.Set[apiserver.AuthorizerType] {
	out := sets.New[apiserver.AuthorizerType]()
	for _, a := range c.Authorizers {
		if a.Type != apiserver.TypeWebhook {
			out.Insert(a.Type)
		}
	}
	return out
}

// Has says whether a configuration asks authorizers of the type.
func Has(c *apiserver.AuthorizationConfiguration, mode string) bool {
	return types(c).Has(apiserver.AuthorizerType(mode))
}

// missing is an error unless all types of want are in the configuration.
func missing(c *apiserver.AuthorizationConfiguration, want sets.Set[apiserver.AuthorizerType]) error {
	gone := want.Difference(types(c))
	if gone.Len() > 0 {
		return fmt.Errorf("missing required types: %v", sets.List(gone))
	}
	return nil
}
