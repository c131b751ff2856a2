package authn

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// objects looks up what tokens are bound to: first in the server's watch cache,
// then, when it isn't there yet, in etcd. Authentication keeps no copy of its own.
type objects struct{ client kubernetes.Interface }

// lookup calls get until it finds the object, at most twice.
func lookup[T any](get func(metav1.GetOptions) (T, error)) (T, error) {
	o, err := get(metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		return get(metav1.GetOptions{})
	}
	return o, err
}

func (o objects) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return lookup(func(opts metav1.GetOptions) (*corev1.ServiceAccount, error) {
		return o.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, opts)
	})
}

func (o objects) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return lookup(func(opts metav1.GetOptions) (*corev1.Secret, error) {
		return o.client.CoreV1().Secrets(namespace).Get(ctx, name, opts)
	})
}

func (o objects) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return lookup(func(opts metav1.GetOptions) (*corev1.Pod, error) {
		return o.client.CoreV1().Pods(namespace).Get(ctx, name, opts)
	})
}

func (o objects) node(ctx context.Context, name string) (*corev1.Node, error) {
	return lookup(func(opts metav1.GetOptions) (*corev1.Node, error) {
		return o.client.CoreV1().Nodes().Get(ctx, name, opts)
	})
}
