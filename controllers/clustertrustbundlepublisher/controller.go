// Package clustertrustbundlepublisher publishes the certificates that verify the API server as a ClusterTrustBundle
// (KEP-3257), which pods mount by the name of its signer.
package clustertrustbundlepublisher

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/certificates/v1"
	"k8s.io/client-go/util/cert"

	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env          controller.Env
	certificates string
	bundles      listers.ClusterTrustBundleLister
	counters     *counters
}

// New declares the controller; it has one key. certificates is PEM.
func New(env controller.Env, certificates []byte) (controller.Spec, error) {
	if _, err := cert.ParseCertsPEM(certificates); err != nil {
		return controller.Spec{}, fmt.Errorf("reading the certificates that verify the API server: %w", err)
	}
	bundles := env.Informers.Certificates().V1().ClusterTrustBundles()
	r := &reconciler{env: env, certificates: string(certificates), bundles: bundles.Lister(), counters: newCounters()}
	if err := r.counters.register(env.Metrics); err != nil {
		return controller.Spec{}, err
	}
	return controller.Spec{
		Name: "clustertrustbundlepublisher", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: bundles.Informer(), Keys: mine}},
		Feed:    func(_ context.Context, add func(controller.Key)) { add(key()) }, // at first there may be no bundle to hear of
	}, nil
}

func key() controller.Key { return controller.Key{Name: Signer} }

func mine(before, after metav1.Object) []controller.Key {
	for _, o := range []metav1.Object{before, after} {
		if b, ok := o.(*Bundle); ok && b.Spec.SignerName == Signer {
			return []controller.Key{key()}
		}
	}
	return nil
}

func (r *reconciler) reconcile(ctx context.Context, _ controller.Key) (controller.Result, error) {
	start := r.env.Clock.Now()
	err := r.publish(ctx)
	r.counters.done(err, r.env.Clock.Since(start))
	return controller.Result{}, err
}

func (r *reconciler) publish(ctx context.Context) error {
	all, err := r.bundles.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("reading trust bundles: %w", err)
	}
	steps, client := Plan(all, r.certificates), r.env.Client.CertificatesV1().ClusterTrustBundles()
	if steps.Create != nil {
		// One that is already there, the cache has yet to hear of.
		if _, err := client.Create(ctx, steps.Create, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating trust bundle: %w", err)
		}
	}
	if steps.Update != nil {
		if _, err := client.Update(ctx, steps.Update, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("updating trust bundle: %w", err)
		}
	}
	var errs []error
	for _, name := range steps.Delete {
		if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("deleting trust bundle %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
