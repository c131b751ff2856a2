// Package bootstrapsigner signs the config map kube-public/cluster-info with the bootstrap tokens, so that a joining
// node, which knows only its token, can trust the certificate authority in it.
package bootstrapsigner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env     controller.Env
	secrets listers.SecretLister
	maps    listers.ConfigMapLister
}

// New declares the controller; its one key is the config map.
func New(env controller.Env) (controller.Spec, error) {
	secrets, maps := env.Informers.Core().V1().Secrets(), env.Informers.Core().V1().ConfigMaps()
	r := &reconciler{env: env, secrets: secrets.Lister(), maps: maps.Lister()}
	return controller.Spec{
		Name: "bootstrapsigner", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: secrets.Informer(), Keys: token},
			{Informer: maps.Informer(), Keys: info},
		},
	}, nil
}

func clusterInfo() controller.Key {
	return controller.Key{Namespace: metav1.NamespacePublic, Name: bootstrapapi.ConfigMapClusterInfo}
}

func token(before, after metav1.Object) []controller.Key {
	for _, o := range []metav1.Object{before, after} {
		if s, ok := o.(*corev1.Secret); ok && s.Type == bootstrapapi.SecretTypeBootstrapToken && s.Namespace == metav1.NamespaceSystem {
			return []controller.Key{clusterInfo()}
		}
	}
	return nil
}

func info(_, after metav1.Object) []controller.Key {
	if after != nil && controller.KeyOf(after) == clusterInfo() {
		return []controller.Key{clusterInfo()}
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	current, err := r.maps.ConfigMaps(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading config map: %w", err)
	}
	secrets, err := r.secrets.Secrets(metav1.NamespaceSystem).List(labels.Everything())
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing tokens: %w", err)
	}
	tokens, now := map[string]string{}, r.env.Clock.Now()
	for _, s := range secrets {
		if id, value, ok := Token(s, now); ok {
			tokens[id] = value
		}
	}
	data, err := Signed(current.Data, tokens)
	if err != nil || data == nil {
		return controller.Result{}, err
	}
	wanted := current.DeepCopy()
	wanted.Data = data
	if _, err := r.env.Client.CoreV1().ConfigMaps(key.Namespace).Update(ctx, wanted, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("updating config map: %w", err)
	}
	return controller.Result{}, nil
}
