package node

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// question is one request of one node. Its methods answer why it is refused, or
// "" when it is allowed.
type question struct {
	z    *Authorizer
	ctx  context.Context //nolint:containedctx // lives for one call
	node string
	a    authorizer.Attributes
}

// unsaid is the reason of a refusal that Kubernetes gives none for.
const unsaid = "unsaid"

func (q question) byRules() string {
	if q.z.rulesAllow(q.a) {
		return ""
	}
	return "no rule of nodes covers this"
}

// related allows the verbs on one named object that the relation holds for.
func (q question) related(holds func() bool, verbs ...string) string {
	switch {
	case !slices.Contains(verbs, q.a.GetVerb()):
		return fmt.Sprintf("can only %v resources of this type", verbs)
	case q.a.GetName() == "":
		return "No Object name found"
	case !holds():
		return fmt.Sprintf("no relationship found between node '%s' and this object", q.node)
	}
	return ""
}

func (q question) get(holds func() bool) string {
	if q.a.GetSubresource() != "" {
		return "cannot read subresource"
	}
	return q.related(holds, "get")
}

func (q question) readNamespaced(holds func() bool) string {
	switch {
	case q.a.GetSubresource() != "":
		return "cannot read subresource"
	case q.a.GetNamespace() == "":
		return "can only read namespaced object of this type"
	}
	return q.related(holds, "get", "list", "watch")
}

// account lets a node read and get tokens for the accounts of its pods.
func (q question) account() string {
	switch q.a.GetSubresource() {
	case "token":
		return q.related(q.usesAccount, "create")
	case "":
		return q.get(q.usesAccount)
	}
	return "can only access the token subresource"
}

func (q question) lease() string {
	switch {
	case q.a.GetNamespace() != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, q.a.GetVerb()):
		return "can only get, create, update, patch, or delete a node lease"
	case q.a.GetVerb() != "create" && q.a.GetName() != q.node:
		return "can only access node lease with the same name as the requesting node"
	}
	return "" // the name of a created lease is NodeRestriction's to check
}

func (q question) csiNode() string {
	switch {
	case q.a.GetSubresource() != "":
		return "cannot authorize CSINode subresources"
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, q.a.GetVerb()):
		return "can only get, create, update, patch, or delete a CSINode"
	case q.a.GetVerb() != "create" && q.a.GetName() != q.node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return ""
}

// own is for objects with a spec.nodeName: the node may create its own
// (NodeRestriction checks), read and change one, and read all with a selector.
func (q question) own(holds func() bool, change ...string) string {
	switch q.a.GetVerb() {
	case "create":
		return ""
	case "list", "watch", "deletecollection":
		if q.selects("spec.nodeName") {
			return ""
		}
		return "can only list/watch/deletecollection with spec.nodeName field selector"
	}
	return q.related(holds, append(change, "get")...)
}

func (q question) nodes() string {
	if q.a.GetSubresource() != "" {
		return q.byRules() // NodeRestriction checks whose
	}
	switch q.a.GetVerb() {
	case "create", "update", "patch":
		return "" // NodeRestriction checks whose
	case "get", "list", "watch":
		if q.a.GetName() == q.node || q.selects("metadata.name") {
			return ""
		}
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", q.node, q.a.GetName())
	}
	return unsaid
}

func (q question) podsOf() string {
	if q.a.GetSubresource() != "" {
		return q.byRules()
	}
	switch q.a.GetVerb() {
	case "get":
		return q.related(q.isPod, "get")
	case "list", "watch":
		if q.selects("spec.nodeName") {
			return ""
		}
		if q.a.GetName() == "" {
			return "can only list/watch pods with spec.nodeName field selector"
		}
		return q.related(q.isPod, "list", "watch")
	}
	return q.byRules()
}

// selects reports whether the request is limited to objects whose field is this
// node's name.
func (q question) selects(field string) bool {
	requirements, err := q.a.GetFieldSelector()
	if err != nil {
		return false
	}
	for _, r := range requirements {
		if r.Field == field && r.Value == q.node && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) {
			return true
		}
	}
	return false
}
