package server_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server"
	"skiff/test/env"
)

// TestLocalPathIsMadeOnce leaves the default storage class to the user after the first start, and keeps the role of
// its provisioner.
func TestLocalPathIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	start := func(wanted bool) (*env.Server, kubernetes.Interface) {
		s := env.Start(t, env.Options{Dir: dir, Configure: func(c *server.Config) { c.LocalPath = wanted }})
		return s, kubernetes.NewForConfigOrDie(s.Admin())
	}
	ctx := t.Context()
	s, client := start(false)
	if list, err := client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("without a node: %v, %v", list.Items, err)
	}
	s.Stop()

	s, client = start(true)
	class, err := client.StorageV1().StorageClasses().Get(ctx, "local-path", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if class.Provisioner != "skiff.dev/local-path" || class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" ||
		*class.VolumeBindingMode != "WaitForFirstConsumer" || *class.ReclaimPolicy != "Delete" || !*class.AllowVolumeExpansion {
		t.Errorf("%+v", class)
	}
	class.Annotations["storageclass.kubernetes.io/is-default-class"] = "false"
	if _, err := client.StorageV1().StorageClasses().Update(ctx, class, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.RbacV1().ClusterRoleBindings().Delete(ctx, "skiff:local-path-provisioner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s, client = start(true)
	if class, err = client.StorageV1().StorageClasses().Get(ctx, "local-path", metav1.GetOptions{}); err != nil || class.Annotations["storageclass.kubernetes.io/is-default-class"] != "false" {
		t.Errorf("the user's change is lost: %+v, %v", class, err)
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Get(ctx, "skiff:local-path-provisioner", metav1.GetOptions{}); err != nil {
		t.Errorf("the provisioner's rights are lost: %v", err)
	}
	if err := client.StorageV1().StorageClasses().Delete(ctx, "local-path", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	_, client = start(true)
	if _, err := client.StorageV1().StorageClasses().Get(ctx, "local-path", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the class that the user deleted is back (%v)", err)
	}
}
