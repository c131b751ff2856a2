// Package podcertificatecleaner deletes PodCertificateRequests when whoever asked has long got the certificate or given
// up.
package podcertificatecleaner

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/certificates/v1"

	"skiff/controllers/internal/controller"
)

const life = 15 * time.Minute

type reconciler struct {
	env      controller.Env
	requests listers.PodCertificateRequestLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	requests := env.Informers.Certificates().V1().PodCertificateRequests()
	r := &reconciler{env: env, requests: requests.Lister()}
	return controller.Spec{
		Name: "podcertificatecleaner", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{{Informer: requests.Informer(), Keys: added}},
	}, nil
}

// added names a new request: nothing that happens to it later changes its life.
func added(before, after metav1.Object) []controller.Key {
	if after == nil || (before != nil && before.GetUID() == after.GetUID()) {
		return nil
	}
	return []controller.Key{controller.KeyOf(after)}
}

// Left answers how long the request may still be there.
func Left(request *certificatesv1.PodCertificateRequest, now time.Time) time.Duration {
	return request.CreationTimestamp.Add(life).Sub(now)
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	request, err := r.requests.PodCertificateRequests(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading request: %w", err)
	}
	if left := Left(request, r.env.Clock.Now()); left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	err = r.env.Client.CertificatesV1().PodCertificateRequests(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(request.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("deleting: %w", err)
	}
	return controller.Result{}, nil
}
