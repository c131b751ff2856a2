// Package serviceaccount gives every active namespace its service account "default".
package serviceaccount

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

const account = "default"

type reconciler struct {
	env        controller.Env
	namespaces listers.NamespaceLister
	accounts   listers.ServiceAccountLister
}

// New declares the controller; its keys are namespaces.
func New(env controller.Env) (controller.Spec, error) {
	namespaces, accounts := env.Informers.Core().V1().Namespaces(), env.Informers.Core().V1().ServiceAccounts()
	r := &reconciler{env: env, namespaces: namespaces.Lister(), accounts: accounts.Lister()}
	return controller.Spec{
		Name: "serviceaccount", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: namespaces.Informer(), Keys: controller.Self},
			{Informer: accounts.Informer(), Keys: deleted},
		},
	}, nil
}

func deleted(before, after metav1.Object) []controller.Key {
	if after != nil || before.GetName() != account {
		return nil
	}
	return []controller.Key{{Name: before.GetNamespace()}}
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	ns, err := r.namespaces.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading namespace: %w", err)
	}
	_, err = r.accounts.ServiceAccounts(ns.Name).Get(account)
	if err == nil || ns.Status.Phase == corev1.NamespaceTerminating || ns.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	if !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("reading service account: %w", err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: ns.Name}}
	_, err = r.env.Client.CoreV1().ServiceAccounts(ns.Name).Create(ctx, sa, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) && !podset.NamespaceTerminating(err) {
		return controller.Result{}, fmt.Errorf("creating service account: %w", err)
	}
	return controller.Result{}, nil
}
