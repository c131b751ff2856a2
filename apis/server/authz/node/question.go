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
	return unsaid
}

func (q question) verb(of ...string) bool { return slices.Contains(of, q.a.GetVerb()) }

// related allows one named object that the relation holds for.
func (q question) related(holds func() bool) string {
	switch {
	case q.a.GetName() == "":
		return "No Object name found"
	case !holds():
		return q.unrelated()
	}
	return ""
}

func (q question) unrelated() string {
	return fmt.Sprintf("no relationship found between node '%s' and this object", q.node)
}

func (q question) get(holds func() bool) string {
	switch {
	case !q.verb("get"):
		return "can only get individual resources of this type"
	case q.a.GetSubresource() != "":
		return "cannot get subresource"
	}
	return q.related(holds)
}

func (q question) updateStatus(holds func() bool) string {
	if !q.verb("update", "patch") {
		return "can only get/update/patch this type"
	}
	return q.related(holds)
}

func (q question) readNamespaced(holds func() bool) string {
	switch {
	case !q.verb("get", "list", "watch"):
		return "can only read resources of this type"
	case q.a.GetSubresource() != "":
		return "cannot read subresource"
	case q.a.GetNamespace() == "":
		return "can only read namespaced object of this type"
	}
	return q.related(holds)
}

// account lets a node read and get tokens for the accounts of its pods.
func (q question) account() string {
	switch {
	case q.verb("get") && q.a.GetSubresource() == "":
		return q.readNamespaced(q.usesAccount)
	case !q.verb("create") || q.a.GetName() == "":
		return "can only create tokens for individual service accounts"
	case q.a.GetSubresource() != "token":
		return "can only create token subresource of serviceaccount"
	case !q.usesAccount():
		return q.unrelated()
	}
	return ""
}

func (q question) lease() string {
	switch {
	case !q.verb("get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a node lease"
	case q.a.GetNamespace() != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case !q.verb("create") && q.a.GetName() != q.node:
		return "can only access node lease with the same name as the requesting node"
	}
	return "" // the name of a created lease is NodeRestriction's to check
}

func (q question) csiNode() string {
	switch {
	case q.a.GetSubresource() == "status":
		return "CSINode status access requires CSIVolumeHealth feature"
	case q.a.GetSubresource() != "":
		return "cannot authorize CSINode subresources"
	case !q.verb("get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a CSINode"
	case !q.verb("create") && q.a.GetName() != q.node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return ""
}

// slice lets a node make slices of devices, whose node NodeRestriction checks,
// and handle those that are its own.
func (q question) slice() string {
	switch {
	case q.a.GetSubresource() != "":
		return "cannot authorize ResourceSlice subresources"
	case q.verb("create"):
		return ""
	case q.verb("get", "update", "patch", "delete"):
		return q.related(q.isSlice)
	case !q.verb("list", "watch", "deletecollection"):
		return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
	case !q.selects("spec.nodeName"):
		return "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return ""
}

func (q question) certificateRequest() string {
	switch {
	case q.a.GetSubresource() != "":
		return "nodes may not access the status subresource of PodCertificateRequests"
	case q.verb("create"):
		return "" // NodeRestriction checks for whom
	case q.verb("get"):
		return q.related(q.isCertificateRequest)
	case !q.verb("list", "watch"):
		return fmt.Sprintf("nodes may not %s podcertificaterequests", q.a.GetVerb())
	case !q.selects("spec.nodeName"):
		return "can only list/watch podcertificaterequests with nodeName field selector"
	}
	return ""
}

// nodes lets a node read and write its own Node object; NodeRestriction checks
// whose it writes.
func (q question) nodes() string {
	switch q.a.GetSubresource() {
	case "":
		switch {
		case q.verb("create", "update", "patch") || (q.verb("get", "list", "watch") && q.a.GetName() == q.node):
			return ""
		case q.verb("get", "list", "watch") && q.a.GetName() == "":
			return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", q.node)
		case q.verb("get", "list", "watch"):
			return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", q.node, q.a.GetName())
		}
	case "status":
		if q.verb("update", "patch") {
			return ""
		}
	}
	return unsaid
}

// podsOf lets a node read its pods; NodeRestriction checks which it writes.
func (q question) podsOf() string {
	switch q.a.GetSubresource() {
	case "":
		return q.pods()
	case "status":
		if q.verb("update", "patch") {
			return ""
		}
	case "eviction":
		if q.verb("create") {
			return ""
		}
	}
	return unsaid
}

func (q question) pods() string {
	switch {
	case q.verb("create", "delete"), q.verb("list", "watch") && q.selects("spec.nodeName"):
		return ""
	case q.verb("get"):
		return q.get(q.isPod)
	case !q.verb("list", "watch"):
		return unsaid
	case q.a.GetName() == "":
		return "can only list/watch pods with spec.nodeName field selector"
	}
	return q.related(q.isPod)
}

// selects reports whether the request is limited to objects whose field is this
// node's name.
func (q question) selects(field string) bool {
	requirements, err := q.a.GetFieldSelector()
	if err != nil {
		return false
	}
	for _, r := range requirements {
		if r.Field == field && r.Value == q.node && r.Operator == selection.Equals {
			return true
		}
	}
	return false
}
