// Package tokencleaner deletes bootstrap tokens that have expired: Secrets of type bootstrap.kubernetes.io/token in
// kube-system.
package tokencleaner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/util/secrets"

	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env     controller.Env
	secrets listers.SecretLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	informer := env.Informers.Core().V1().Secrets()
	r := &reconciler{env: env, secrets: informer.Lister()}
	return controller.Spec{
		Name: "tokencleaner", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: informer.Informer(), Keys: tokens}},
	}, nil
}

func tokens(_, after metav1.Object) []controller.Key {
	if s, ok := after.(*corev1.Secret); ok && s.Type == bootstrapapi.SecretTypeBootstrapToken && s.Namespace == metav1.NamespaceSystem {
		return []controller.Key{controller.KeyOf(s)}
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	secret, err := r.secrets.Secrets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading token: %w", err)
	}
	left, expired := secrets.GetExpiration(secret, r.env.Clock.Now())
	if !expired {
		return controller.Result{RequeueAfter: max(0, left)}, nil // 0 for a token that lives for ever
	}
	err = r.env.Client.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}, // it may have been prolonged
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("deleting token: %w", err)
	}
	return controller.Result{}, nil
}
