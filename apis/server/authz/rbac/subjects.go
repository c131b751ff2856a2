package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/cache"
)

// subjectIndex finds bindings by whom they name.
const subjectIndex = "skiff-rbac-subject"

// keyOf is a subject as an index key: a service account is its user name. A
// role binding's service account without a namespace is of the binding's own.
func keyOf(s rbacv1.Subject, namespace string) string {
	switch s.Kind {
	case rbacv1.UserKind:
		return "u:" + s.Name
	case rbacv1.GroupKind:
		return "g:" + s.Name
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		if namespace == "" {
			return ""
		}
		return "u:" + serviceaccount.MakeUsername(namespace, s.Name)
	}
	return ""
}

// subjectKeys are the keys under which bindings may name the user.
func subjectKeys(u user.Info) []string {
	groups := u.GetGroups()
	keys := make([]string, 0, len(groups)+1)
	keys = append(keys, "u:"+u.GetName())
	for _, g := range groups {
		keys = append(keys, "g:"+g)
	}
	return keys
}

// inNamespace keeps the bindings of namespaces apart.
func inNamespace(namespace, key string) string { return namespace + "/" + key }

// subjectsOf is the index function of both kinds of binding.
func subjectsOf(o any) ([]string, error) {
	var keys []string
	switch b := o.(type) {
	case *rbacv1.ClusterRoleBinding:
		for _, s := range b.Subjects {
			if k := keyOf(s, ""); k != "" {
				keys = append(keys, k)
			}
		}
	case *rbacv1.RoleBinding:
		for _, s := range b.Subjects {
			if k := keyOf(s, b.Namespace); k != "" {
				keys = append(keys, inNamespace(b.Namespace, k))
			}
		}
	}
	return keys, nil
}

func lookup(i cache.Indexer, key string) []any {
	found, err := i.ByIndex(subjectIndex, key)
	if err != nil {
		return nil // only a missing index, which NewEvaluator has added
	}
	return found
}
