// Package namespace ends namespaces: it deletes the content of a terminating namespace, of all kinds that discovery
// names, reports what is left as conditions, and lets the namespace go when nothing is.
package namespace

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"

	"skiff/controllers/internal/controller"
)

const workers = 10

type reconciler struct {
	env     controller.Env
	lister  listers.NamespaceLister
	content content
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	objects, err := metadata.NewForConfig(controller.Unlimited(env.Config))
	if err != nil {
		return controller.Spec{}, fmt.Errorf("building metadata client: %w", err)
	}
	namespaces := env.Informers.Core().V1().Namespaces()
	r := &reconciler{env: env, lister: namespaces.Lister(), content: content{env.Client.Discovery(), objects, env.Clock}}
	return controller.Spec{
		Name: "namespace", Reconcile: r.reconcile, Workers: workers,
		Watches: []controller.Watch{{Informer: namespaces.Informer(), Keys: terminating}},
	}, nil
}

func terminating(_, after metav1.Object) []controller.Key {
	if after == nil || after.GetDeletionTimestamp() == nil {
		return nil
	}
	return []controller.Key{{Name: after.GetName()}}
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	cached, err := r.lister.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading namespace: %w", err)
	}
	if cached.DeletionTimestamp == nil || len(cached.Spec.Finalizers) == 0 {
		return controller.Result{}, nil
	}
	ns, err := r.terminate(ctx, cached)
	if err != nil {
		return controller.Result{}, ignoreGone(err)
	}
	findings := r.content.purge(ctx, ns)
	if ns, err = r.report(ctx, ns, findings); err != nil {
		return controller.Result{}, ignoreGone(err)
	}
	if !findings.Empty() {
		return controller.Result{RequeueAfter: NextLook(ns.DeletionTimestamp.Time, r.env.Clock.Now())}, nil
	}
	return controller.Result{}, ignoreGone(r.finalize(ctx, ns))
}

// terminate writes the phase Terminating.
func (r *reconciler) terminate(ctx context.Context, ns *corev1.Namespace) (*corev1.Namespace, error) {
	if ns.Status.Phase == corev1.NamespaceTerminating {
		return ns, nil
	}
	ns = ns.DeepCopy()
	ns.Status.Phase = corev1.NamespaceTerminating
	result, err := r.env.Client.CoreV1().Namespaces().UpdateStatus(ctx, ns, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("writing phase: %w", err)
	}
	return result, nil
}

func (r *reconciler) report(ctx context.Context, ns *corev1.Namespace, f Findings) (*corev1.Namespace, error) {
	changed := ns.DeepCopy()
	changed.Status.Conditions = Conditions(ns.Status.Conditions, f, r.env.Clock.Now())
	if equality.Semantic.DeepEqual(ns.Status, changed.Status) {
		return ns, nil
	}
	result, err := r.env.Client.CoreV1().Namespaces().UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("writing conditions: %w", err)
	}
	return result, nil
}

func (r *reconciler) finalize(ctx context.Context, ns *corev1.Namespace) error {
	ns = ns.DeepCopy()
	ns.Spec.Finalizers = WithoutFinalizer(ns.Spec.Finalizers)
	if _, err := r.env.Client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("finalizing: %w", err)
	}
	return nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
