package server_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/server"
	"skiff/test/env"
)

// TestIngressClassIsMadeOnce leaves the class to the user after the first start.
func TestIngressClassIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() (*env.Server, kubernetes.Interface) {
		s := env.Start(t, env.Options{Dir: dir, Configure: func(c *server.Config) { c.Ingress = true }})
		return s, kubernetes.NewForConfigOrDie(s.Admin())
	}
	ctx := t.Context()
	s, client := start()
	class, err := client.NetworkingV1().IngressClasses().Get(ctx, "skiff", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if class.Spec.Controller != "skiff.dev/ingress" || class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
		t.Errorf("%+v", class)
	}
	delete(class.Annotations, networkingv1.AnnotationIsDefaultIngressClass)
	if _, err := client.NetworkingV1().IngressClasses().Update(ctx, class, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s, client = start()
	if class, err = client.NetworkingV1().IngressClasses().Get(ctx, "skiff", metav1.GetOptions{}); err != nil || len(class.Annotations) > 0 {
		t.Errorf("the user's change is lost: %+v, %v", class, err)
	}
	if err := client.NetworkingV1().IngressClasses().Delete(ctx, "skiff", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()

	_, client = start()
	if _, err := client.NetworkingV1().IngressClasses().Get(ctx, "skiff", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the class that the user deleted is back (%v)", err)
	}
}

// TestIngressClassBesideAnother isn't the default where a cluster has one.
func TestIngressClassBesideAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := env.Start(t, env.Options{Dir: dir})
	other := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"},
	}
	if _, err := kubernetes.NewForConfigOrDie(s.Admin()).NetworkingV1().IngressClasses().Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = env.Start(t, env.Options{Dir: dir, Configure: func(c *server.Config) { c.Ingress = true }})
	class, err := kubernetes.NewForConfigOrDie(s.Admin()).NetworkingV1().IngressClasses().Get(t.Context(), "skiff", metav1.GetOptions{})
	if err != nil || class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "" {
		t.Errorf("%+v, %v", class, err)
	}
}
