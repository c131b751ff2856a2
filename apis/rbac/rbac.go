// Package rbac defines the resources of the rbac.authorization.k8s.io API group.
//
// Nobody may grant what they don't hold: writing a role needs every permission
// in it (or the verb escalate), writing a binding needs every permission of its
// role (or the verb bind). See escalation.go.
package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	declared "skiff/apis/declarative/rbac/v1"
	"skiff/apis/resource"
)

// Deps is what the group needs from the server.
type Deps struct {
	Authorizer authorizer.UnconditionalAuthorizer
	Rules      RuleResolver
}

// Resources lists what the group serves.
func Resources(deps Deps) []resource.Resource {
	g := guard(deps)
	return []resource.Resource{
		roles(g), clusterRoles(g), roleBindings(g), clusterRoleBindings(g),
	}
}

var (
	group    = rbacv1.SchemeGroupVersion
	register = declared.RegisterValidations
)
