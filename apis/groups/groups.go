// Package groups is the one list of the API groups that skiff serves.
package groups

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/admissionregistration"
	"skiff/apis/apps"
	"skiff/apis/authentication"
	"skiff/apis/authorization"
	"skiff/apis/autoscaling"
	"skiff/apis/batch"
	"skiff/apis/certificates"
	"skiff/apis/coordination"
	"skiff/apis/core"
	"skiff/apis/discovery"
	"skiff/apis/events"
	"skiff/apis/flowcontrol"
	"skiff/apis/metrics"
	"skiff/apis/networking"
	"skiff/apis/node"
	"skiff/apis/policy"
	"skiff/apis/rbac"
	"skiff/apis/resource"
	"skiff/apis/resourceapi"
	"skiff/apis/scheduling"
	"skiff/apis/server/authn"
	"skiff/apis/server/nodeproxy"
	"skiff/apis/storage"
	"skiff/apis/storagemigration"
)

// Deps is what the groups need of the server.
type Deps struct {
	Issuer       *authn.Issuer
	Tokens       authenticator.Request // reads nothing but the bearer token
	Authorizer   authorizer.Authorizer
	RuleResolver authorizer.RuleResolver
	Rules        rbac.RuleResolver
	Nodes        *nodeproxy.Proxy
	Client       kubernetes.Interface // full rights
	ServiceCIDRs []netip.Prefix
	NodePorts    utilnet.PortRange
	RepairEvery  time.Duration // see core.Deps
	Informers    informers.SharedInformerFactory
	Health       map[string]func(context.Context) error
}

// All lists every resource of every group.
func All(d Deps) []resource.Resource {
	return slices.Concat(
		core.Resources(core.Deps{
			Kubelet: kubelet{d.Nodes}, Tokens: tokens{d.Issuer},
			ServiceCIDRs: d.ServiceCIDRs, NodePorts: d.NodePorts, RepairEvery: d.RepairEvery, Informers: d.Informers,
			Client: d.Client, Health: d.Health,
		}),
		admissionregistration.Resources(),
		apps.Resources(),
		authentication.Resources(authentication.Deps{Tokens: d.Tokens, Audiences: d.Issuer.Audiences()}),
		authorization.Resources(authorization.Deps{Authorizer: d.Authorizer, Rules: d.RuleResolver}),
		autoscaling.Resources(),
		batch.Resources(),
		certificates.Resources(),
		coordination.Resources(),
		discovery.Resources(),
		events.Resources(),
		flowcontrol.Resources(),
		metrics.Resources(metrics.Deps{Kubelets: kubelet{d.Nodes}, Informers: d.Informers}),
		networking.Resources(),
		node.Resources(),
		policy.Resources(),
		resourceapi.Resources(resourceapi.Deps{Client: d.Client}),
		rbac.Resources(rbac.Deps{Authorizer: d.Authorizer, Rules: d.Rules}),
		scheduling.Resources(),
		storage.Resources(),
		storagemigration.Resources(),
	)
}

// kubelet lets groups speak to kubelets.
type kubelet struct{ nodes *nodeproxy.Proxy }

// ConnectionInfo implements core.Kubelet.
func (k kubelet) ConnectionInfo(ctx context.Context, nodeName string) (core.KubeletAddress, error) {
	a, err := k.nodes.Address(ctx, nodeName)
	return core.KubeletAddress(a), err
}

// ResourceMetrics implements metrics.Kubelets.
func (k kubelet) ResourceMetrics(ctx context.Context, nodeName string) (io.ReadCloser, error) {
	return k.nodes.Get(ctx, nodeName, "/metrics/resource")
}

// tokens lets the core group issue service account tokens.
type tokens struct{ issuer *authn.Issuer }

// Issue implements core.Tokens.
func (t tokens) Issue(ctx context.Context, r core.TokenRequest) (string, time.Time, error) {
	return t.issuer.Issue(ctx, authn.TokenRequest(r))
}

// Limits implements core.Tokens.
func (t tokens) Limits() (longest time.Duration, extend bool) { return t.issuer.Limits() }

// Audiences implements core.Tokens.
func (t tokens) Audiences() []string { return t.issuer.Audiences() }
