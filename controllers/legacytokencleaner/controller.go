// Package legacytokencleaner ends the tokens in Secrets that the cluster once made for every service account, when
// nobody has used them for a year (KEP-2799).
//
//	unused for a year ──> labelled as invalid: the API server refuses it ──another year──> deleted
//	                          └──somebody takes the label off: it works again
//
// The API server records since when it tracks uses, and the day of each token's last one.
package legacytokencleaner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/controllers/internal/controller"
	"skiff/internal/podrefs"
)

const (
	tracking = "kube-apiserver-legacy-service-account-token-tracking"
	// every is how often the tokens are looked at: what decides about them changes by the day.
	every = 24 * time.Hour
)

type reconciler struct {
	env      controller.Env
	secrets  listers.SecretLister
	accounts listers.ServiceAccountLister
	pods     listers.PodLister
}

// New declares the controller; its one key stands for all tokens.
func New(env controller.Env) (controller.Spec, error) {
	core := env.Informers.Core().V1()
	r := &reconciler{env: env, secrets: core.Secrets().Lister(), accounts: core.ServiceAccounts().Lister(), pods: core.Pods().Lister()}
	waits := func(metav1.Object, metav1.Object) []controller.Key { return nil } // only for the cache to be filled
	return controller.Spec{
		Name: "legacytokencleaner", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: core.Secrets().Informer(), Keys: waits},
			{Informer: core.ServiceAccounts().Informer(), Keys: waits},
			{Informer: core.Pods().Informer(), Keys: waits},
		},
		Feed: func(_ context.Context, add func(controller.Key)) { add(controller.Key{Name: "tokens"}) },
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, _ controller.Key) (controller.Result, error) {
	since, err := r.since(ctx)
	if err != nil {
		return controller.Result{}, err
	}
	now := r.env.Clock.Now()
	if !Begun(since, now) {
		return controller.Result{RequeueAfter: every}, nil
	}
	secrets, err := r.secrets.List(labels.Everything())
	if err != nil {
		return controller.Result{}, fmt.Errorf("listing secrets: %w", err)
	}
	var errs []error
	for _, secret := range secrets {
		errs = append(errs, r.judge(ctx, secret, now))
	}
	if err := errors.Join(errs...); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{RequeueAfter: every}, nil
}

// since answers the day from which on uses have been tracked.
func (r *reconciler) since(ctx context.Context) (time.Time, error) {
	config, err := r.env.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, tracking, metav1.GetOptions{})
	if err != nil {
		return time.Time{}, fmt.Errorf("reading since when tokens are tracked: %w", err)
	}
	since, err := time.Parse(time.DateOnly, config.Data["since"])
	if err != nil {
		return time.Time{}, fmt.Errorf("reading since when tokens are tracked: %w", err)
	}
	return since, nil
}

func (r *reconciler) judge(ctx context.Context, secret *corev1.Secret, now time.Time) error {
	if secret.Type != corev1.SecretTypeServiceAccountToken {
		return nil
	}
	account, err := r.account(secret)
	if err != nil {
		return err
	}
	pods, err := r.pods.Pods(secret.Namespace).List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	mounted := func() bool {
		return slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return slices.Contains(podrefs.Of(p).Secrets, secret.Name) })
	}
	switch Judge(secret, account, mounted, now) {
	case Invalidate:
		return r.invalidate(ctx, secret, now)
	case Delete:
		return r.delete(ctx, secret)
	case Keep:
	}
	return nil
}

// account answers the token's account, nil if it is gone or is another one of the same name.
func (r *reconciler) account(secret *corev1.Secret) (*corev1.ServiceAccount, error) {
	name, uid := secret.Annotations[corev1.ServiceAccountNameKey], types.UID(secret.Annotations[corev1.ServiceAccountUIDKey])
	account, err := r.accounts.ServiceAccounts(secret.Namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && uid != "" && uid != account.UID) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading service account: %w", err)
	}
	return account, nil
}

func (r *reconciler) invalidate(ctx context.Context, secret *corev1.Secret, now time.Time) error {
	label := map[string]string{invalidSince: now.UTC().Format(time.DateOnly)}
	patch, err := json.Marshal(corev1ac.Secret(secret.Name, secret.Namespace).WithUID(secret.UID).WithLabels(label))
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = r.env.Client.CoreV1().Secrets(secret.Namespace).Patch(ctx, secret.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return settled("labelling token as invalid", err)
}

func (r *reconciler) delete(ctx context.Context, secret *corev1.Secret) error {
	err := r.env.Client.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{ResourceVersion: &secret.ResourceVersion}, // somebody may just have used it
	})
	return settled("deleting token", err)
}

// settled lets a token that changed or went meanwhile be until the next look.
func settled(doing string, err error) error {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
