// Package serviceaccounttoken fills Secrets of type kubernetes.io/service-account-token, and deletes those whose
// service account is gone.
package serviceaccounttoken

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
)

// index finds the token secrets of a service account.
const index = "skiff.controllers/token-of"

// Signer signs the token of a secret for a service account.
type Signer interface {
	Legacy(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error)
}

type reconciler struct {
	env      controller.Env
	signer   Signer
	bundle   []byte
	secrets  listers.SecretLister
	indexer  cache.Indexer
	accounts listers.ServiceAccountLister
}

// New declares the controller; its keys are secrets. bundle is the PEM that verifies the API server.
func New(env controller.Env, signer Signer, bundle []byte) (controller.Spec, error) {
	secrets, accounts := env.Informers.Core().V1().Secrets(), env.Informers.Core().V1().ServiceAccounts()
	if err := secrets.Informer().AddIndexers(cache.Indexers{index: accountOf}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing secrets: %w", err)
	}
	r := &reconciler{
		env: env, signer: signer, bundle: bundle, secrets: secrets.Lister(), indexer: secrets.Informer().GetIndexer(), accounts: accounts.Lister(),
	}
	return controller.Spec{
		Name: "serviceaccounttoken", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: secrets.Informer(), Keys: tokens},
			{Informer: accounts.Informer(), Keys: r.ofAccount},
		},
	}, nil
}

func accountOf(o any) ([]string, error) {
	if s, ok := o.(*corev1.Secret); ok && s.Type == corev1.SecretTypeServiceAccountToken {
		return []string{s.Namespace + "/" + s.Annotations[corev1.ServiceAccountNameKey]}, nil
	}
	return nil, nil
}

func tokens(_, after metav1.Object) []controller.Key {
	if s, ok := after.(*corev1.Secret); ok && s.Type == corev1.SecretTypeServiceAccountToken {
		return []controller.Key{controller.KeyOf(s)}
	}
	return nil
}

// ofAccount asks for the tokens of an account that has come or gone.
func (r *reconciler) ofAccount(before, after metav1.Object) []controller.Key {
	if before != nil && after != nil {
		return nil
	}
	account := controller.Self(before, after)[0]
	items, err := r.indexer.ByIndex(index, account.String())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, item := range items {
		if s, ok := item.(*corev1.Secret); ok {
			keys = append(keys, controller.KeyOf(s))
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	secret, err := r.secrets.Secrets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || (err == nil && secret.DeletionTimestamp != nil) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading secret: %w", err)
	}
	account, err := r.account(ctx, secret)
	if err != nil {
		return controller.Result{}, err
	}
	if account == nil {
		return controller.Result{}, r.delete(ctx, secret)
	}
	if complete(secret, account, r.bundle) {
		return controller.Result{}, nil
	}
	return controller.Result{}, r.fill(ctx, secret, account)
}

// account answers the secret's account, nil if the server has none of that name and UID.
func (r *reconciler) account(ctx context.Context, secret *corev1.Secret) (*corev1.ServiceAccount, error) {
	name, uid := secret.Annotations[corev1.ServiceAccountNameKey], secret.Annotations[corev1.ServiceAccountUIDKey]
	account, err := r.accounts.ServiceAccounts(secret.Namespace).Get(name)
	if err == nil && matches(account, uid) {
		return account, nil
	}
	account, err = r.env.Client.CoreV1().ServiceAccounts(secret.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && !matches(account, uid)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading service account: %w", err)
	}
	return account, nil
}

func matches(account *corev1.ServiceAccount, uid string) bool {
	return uid == "" || account.UID == types.UID(uid)
}

// complete answers whether the secret has all that it should hold.
func complete(secret *corev1.Secret, account *corev1.ServiceAccount, bundle []byte) bool {
	return len(secret.Data[corev1.ServiceAccountTokenKey]) > 0 && bytes.Equal(secret.Data[corev1.ServiceAccountRootCAKey], bundle) &&
		string(secret.Data[corev1.ServiceAccountNamespaceKey]) == secret.Namespace && secret.Annotations[corev1.ServiceAccountUIDKey] == string(account.UID)
}

// fill completes the newest version of the secret.
func (r *reconciler) fill(ctx context.Context, cached *corev1.Secret, account *corev1.ServiceAccount) error {
	secrets := r.env.Client.CoreV1().Secrets(cached.Namespace)
	secret, err := secrets.Get(ctx, cached.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && (secret.UID != cached.UID || complete(secret, account, r.bundle))) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading secret: %w", err)
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[corev1.ServiceAccountNameKey], secret.Annotations[corev1.ServiceAccountUIDKey] = account.Name, string(account.UID)
	secret.Data[corev1.ServiceAccountRootCAKey] = r.bundle
	secret.Data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	if len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := r.signer.Legacy(account, secret)
		if err != nil {
			return fmt.Errorf("signing token: %w", err)
		}
		secret.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing token: %w", err)
	}
	return nil
}

func (r *reconciler) delete(ctx context.Context, secret *corev1.Secret) error {
	err := r.env.Client.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(secret.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting secret: %w", err)
	}
	return nil
}
