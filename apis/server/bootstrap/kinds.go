package bootstrap

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/config/manifests"
)

// Namespaces makes the system namespaces.
func (b Bootstrap) Namespaces(ctx context.Context) error {
	return kind[corev1.Namespace, *corev1.Namespace, *corev1.NamespaceList]{
		client: b.Client.CoreV1().Namespaces(),
		items:  func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items },
		want:   manifests.Namespaces,
	}.ensure(ctx)
}

// PriorityClasses makes the system priority classes.
func (b Bootstrap) PriorityClasses(ctx context.Context) error {
	return kind[schedulingv1.PriorityClass, *schedulingv1.PriorityClass, *schedulingv1.PriorityClassList]{
		client: b.Client.SchedulingV1().PriorityClasses(),
		items:  func(l *schedulingv1.PriorityClassList) []schedulingv1.PriorityClass { return l.Items },
		want:   manifests.PriorityClasses,
	}.ensure(ctx)
}

// roles are sets of roles and bindings.
type roles struct {
	clusterRoles        func() ([]rbacv1.ClusterRole, error)
	clusterRoleBindings func() ([]rbacv1.ClusterRoleBinding, error)
	roles               func() ([]rbacv1.Role, error)
	roleBindings        func() ([]rbacv1.RoleBinding, error)
}

// Roles makes the default roles and bindings. It needs the system namespaces.
func (b Bootstrap) Roles(ctx context.Context) error {
	return b.ensureRoles(ctx, roles{manifests.ClusterRoles, manifests.ClusterRoleBindings, manifests.Roles, manifests.RoleBindings})
}

func (b Bootstrap) ensureRoles(ctx context.Context, r roles) error {
	rbac := b.Client.RbacV1()
	if err := (kind[rbacv1.ClusterRole, *rbacv1.ClusterRole, *rbacv1.ClusterRoleList]{
		client: rbac.ClusterRoles(),
		items:  func(l *rbacv1.ClusterRoleList) []rbacv1.ClusterRole { return l.Items },
		want:   r.clusterRoles,
		change: changeClusterRole,
	}).ensure(ctx); err != nil {
		return err
	}
	if err := (kind[rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList]{
		client: rbac.ClusterRoleBindings(),
		items:  func(l *rbacv1.ClusterRoleBindingList) []rbacv1.ClusterRoleBinding { return l.Items },
		want:   r.clusterRoleBindings,
		change: changeClusterRoleBinding,
	}).ensure(ctx); err != nil {
		return err
	}
	return b.namespacedRoles(ctx, r)
}

// namespacedRoles creates per namespace, since a typed client is of one.
func (b Bootstrap) namespacedRoles(ctx context.Context, r roles) error {
	rbac := b.Client.RbacV1()
	for _, ns := range []string{metav1.NamespaceSystem, metav1.NamespacePublic} {
		if err := (kind[rbacv1.Role, *rbacv1.Role, *rbacv1.RoleList]{
			client: rbac.Roles(ns),
			items:  func(l *rbacv1.RoleList) []rbacv1.Role { return l.Items },
			want:   within[rbacv1.Role](ns, r.roles),
			change: changeRole,
		}).ensure(ctx); err != nil {
			return fmt.Errorf("namespace %s: %w", ns, err)
		}
		if err := (kind[rbacv1.RoleBinding, *rbacv1.RoleBinding, *rbacv1.RoleBindingList]{
			client: rbac.RoleBindings(ns),
			items:  func(l *rbacv1.RoleBindingList) []rbacv1.RoleBinding { return l.Items },
			want:   within[rbacv1.RoleBinding](ns, r.roleBindings),
			change: changeRoleBinding,
		}).ensure(ctx); err != nil {
			return fmt.Errorf("namespace %s: %w", ns, err)
		}
	}
	return nil
}

// within keeps the objects of one namespace.
func within[T any, P object[T]](namespace string, all func() ([]T, error)) func() ([]T, error) {
	return func() ([]T, error) {
		list, err := all()
		var out []T
		for i := range list {
			if P(&list[i]).GetNamespace() == namespace {
				out = append(out, list[i])
			}
		}
		return out, err
	}
}
