package bootstrap

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/config/manifests"
)

// LocalPath makes the storage class of volumes on the nodes' disks, and the role
// of its provisioner.
func (b Bootstrap) LocalPath(ctx context.Context) error {
	return b.addOn(ctx, b.storageClasses().ensure, manifests.LocalPathClusterRoles, manifests.LocalPathClusterRoleBindings)
}

// addOn makes the class of something that nodes do, and the role that they do it
// by. The class is made once: whoever deletes it, or makes another one of its name
// or the default, has the last word. That it was made is told by the role, which
// comes after it and is repaired as others are.
func (b Bootstrap) addOn(ctx context.Context, class func(context.Context) error, roles func() ([]rbacv1.ClusterRole, error), bindings func() ([]rbacv1.ClusterRoleBinding, error)) error {
	made, err := roles()
	if err != nil {
		return err
	}
	_, err = b.Client.RbacV1().ClusterRoles().Get(ctx, made[0].Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("looking for the role %s: %w", made[0].Name, err)
	}
	if apierrors.IsNotFound(err) {
		if err := class(ctx); err != nil {
			return err
		}
	}
	if err := (kind[rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList]{
		client: b.Client.RbacV1().ClusterRoleBindings(),
		items:  func(l *rbacv1.ClusterRoleBindingList) []rbacv1.ClusterRoleBinding { return l.Items },
		want:   bindings,
		change: changeClusterRoleBinding,
	}).ensure(ctx); err != nil {
		return err
	}
	return kind[rbacv1.ClusterRole, *rbacv1.ClusterRole, *rbacv1.ClusterRoleList]{
		client: b.Client.RbacV1().ClusterRoles(),
		items:  func(l *rbacv1.ClusterRoleList) []rbacv1.ClusterRole { return l.Items },
		want:   roles,
		change: changeClusterRole,
	}.ensure(ctx)
}

func (b Bootstrap) storageClasses() kind[storagev1.StorageClass, *storagev1.StorageClass, *storagev1.StorageClassList] {
	return kind[storagev1.StorageClass, *storagev1.StorageClass, *storagev1.StorageClassList]{
		client: b.Client.StorageV1().StorageClasses(),
		items:  func(l *storagev1.StorageClassList) []storagev1.StorageClass { return l.Items },
		want:   manifests.StorageClasses,
	}
}
