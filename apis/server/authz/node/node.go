// Package node authorizes kubelets (KEP-1287, KEP-4601): a node named by its
// identity system:node:NAME may read what the pods bound to it refer to, and
// write what belongs to itself. Everything else is left to other authorizers.
//
// The relation is not kept as a graph: a pod index by node and at most a few
// reads through the server's watch cache answer each question.
package node

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"skiff/apis/server/authz/rbac"
)

const (
	usernamePrefix = "system:node:"
	podsByNode     = "skiff-authorizer-node"
)

// Authorizer is the node authorizer.
type Authorizer struct {
	pods   cache.Indexer
	client kubernetes.Interface
	rules  []rbacv1.PolicyRule
}

var _ authorizer.Authorizer = (*Authorizer)(nil)

// New registers the pod informer. rules are what every node may do where the
// relation to its pods doesn't matter; client reads with full rights.
func New(pods informers.PodInformer, client kubernetes.Interface, rules []rbacv1.PolicyRule) (*Authorizer, error) {
	indexer := pods.Informer().GetIndexer()
	if _, ok := indexer.GetIndexers()[podsByNode]; !ok {
		if err := indexer.AddIndexers(cache.Indexers{podsByNode: nodeOf}); err != nil {
			return nil, fmt.Errorf("indexing pods by node: %w", err)
		}
	}
	return &Authorizer{indexer, client, rules}, nil
}

func nodeOf(o any) ([]string, error) {
	if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}

// Name is the node whose kubelet the user is, and whether it is one at all. A
// node whose name is not in the identity is "" and true.
func Name(u user.Info) (string, bool) {
	for _, g := range u.GetGroups() {
		if g == user.NodesGroup {
			name, ok := strings.CutPrefix(u.GetName(), usernamePrefix)
			return name, ok
		}
	}
	return "", false
}

// Authorize implements authorizer.Authorizer.
func (z *Authorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	node, ok := Name(a.GetUser())
	if !ok {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if node == "" {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", a.GetUser().GetName()), nil
	}
	reason := z.refuse(ctx, node, a)
	switch reason {
	case "":
		return authorizer.DecisionAllow, "", nil
	case unsaid:
		reason = ""
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (z *Authorizer) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(z.Authorize(ctx, a))
}

// EvaluateConditions implements authorizer.Authorizer.
func (z *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// refuse answers why the node may not, or "" when it may.
func (z *Authorizer) refuse(ctx context.Context, node string, a authorizer.Attributes) string {
	q := question{z, ctx, node, a}
	switch a.GetAPIGroup() + "/" + a.GetResource() {
	case "/secrets":
		return q.readNamespaced(q.usesSecret)
	case "/configmaps":
		return q.readNamespaced(q.usesConfigMap)
	case "/persistentvolumeclaims":
		if a.GetSubresource() == "status" {
			return q.updateStatus(q.usesClaim)
		}
		return q.get(q.usesClaim)
	case "/persistentvolumes":
		return q.get(q.usesVolume)
	case "resource.k8s.io/resourceclaims":
		return q.get(q.usesResourceClaim)
	case "storage.k8s.io/volumeattachments":
		return q.get(q.isAttachment)
	case "/serviceaccounts":
		return q.account()
	case "coordination.k8s.io/leases":
		return q.lease()
	case "storage.k8s.io/csinodes":
		return q.csiNode()
	case "resource.k8s.io/resourceslices":
		return q.slice()
	case "certificates.k8s.io/podcertificaterequests":
		return q.certificateRequest()
	case "/nodes":
		return q.nodes()
	case "/pods":
		return q.podsOf()
	}
	return q.byRules()
}

// fromCache reads through the server's watch cache.
func fromCache() metav1.GetOptions { return metav1.GetOptions{ResourceVersion: "0"} }

// rulesAllow reports whether the rules of every node cover the request.
func (z *Authorizer) rulesAllow(a authorizer.Attributes) bool { return rbac.Allows(a, z.rules) }
