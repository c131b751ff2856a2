// Package rootca publishes the cluster's root certificates to every namespace as the config map kube-root-ca.crt.
package rootca

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

const (
	name        = "kube-root-ca.crt"
	field       = "ca.crt"
	annotation  = "kubernetes.io/description"
	description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

type reconciler struct {
	env        controller.Env
	bundle     string
	namespaces listers.NamespaceLister
	maps       listers.ConfigMapLister
}

// New declares the controller; its keys are namespaces. bundle is PEM.
func New(env controller.Env, bundle []byte) (controller.Spec, error) {
	namespaces, configs := env.Informers.Core().V1().Namespaces(), env.Informers.Core().V1().ConfigMaps()
	r := &reconciler{env: env, bundle: string(bundle), namespaces: namespaces.Lister(), maps: configs.Lister()}
	return controller.Spec{
		Name: "rootca", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: namespaces.Informer(), Keys: controller.Self},
			{Informer: configs.Informer(), Keys: published},
		},
	}, nil
}

func published(before, after metav1.Object) []controller.Key {
	o := after
	if o == nil {
		o = before
	}
	if o.GetName() != name {
		return nil
	}
	return []controller.Key{{Name: o.GetNamespace()}}
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	ns, err := r.namespaces.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading namespace: %w", err)
	}
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return controller.Result{}, nil
	}
	current, err := r.maps.ConfigMaps(ns.Name).Get(name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, r.create(ctx, ns.Name)
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading config map: %w", err)
	}
	if wanted := corrected(current, r.bundle); wanted != nil {
		if _, err := r.env.Client.CoreV1().ConfigMaps(ns.Name).Update(ctx, wanted, metav1.UpdateOptions{}); err != nil {
			return controller.Result{}, fmt.Errorf("updating config map: %w", err)
		}
	}
	return controller.Result{}, nil
}

func (r *reconciler) create(ctx context.Context, namespace string) error {
	wanted := corrected(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}, r.bundle)
	_, err := r.env.Client.CoreV1().ConfigMaps(namespace).Create(ctx, wanted, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) && !podset.NamespaceTerminating(err) {
		return fmt.Errorf("creating config map: %w", err)
	}
	return nil
}

// corrected answers the config map as it should be, nil if it is.
func corrected(current *corev1.ConfigMap, bundle string) *corev1.ConfigMap {
	data := map[string]string{field: bundle}
	if maps.Equal(current.Data, data) && current.Annotations[annotation] == description {
		return nil
	}
	wanted := current.DeepCopy()
	wanted.Data, wanted.BinaryData = data, nil
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	wanted.Annotations[annotation] = description
	return wanted
}
