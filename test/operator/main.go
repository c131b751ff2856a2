// Command operator is an ordinary controller-runtime operator, for the tests:
// for each Boat of example.test/v1 it keeps a ConfigMap "boat-<name>" with the
// boat's length and reports it in the boat's status. Replicas elect a leader.
package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	if err := run(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func boat() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.test", Version: "v1", Kind: "Boat"})
	return u
}

func run(ctx context.Context) error {
	ctrl.SetLogger(klog.Background())
	rc, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(rc, ctrl.Options{
		LeaderElection: true, LeaderElectionID: "boats.example.test", LeaderElectionReleaseOnCancel: true,
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(mgr).Named("boats").For(boat()).Owns(&corev1.ConfigMap{}).Complete(&reconciler{mgr.GetClient()})
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

type reconciler struct{ client.Client }

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	b := boat()
	if err := r.Get(ctx, req.NamespacedName, b); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	length, _, err := unstructured.NestedInt64(b.Object, "spec", "length")
	if err != nil {
		return ctrl.Result{}, err
	}
	config := &corev1.ConfigMap{}
	config.Name, config.Namespace = "boat-"+b.GetName(), b.GetNamespace()
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, config, func() error {
		config.Data = map[string]string{"length": fmt.Sprint(length)}
		return controllerutil.SetControllerReference(b, config, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	if now, _, _ := unstructured.NestedInt64(b.Object, "status", "length"); now == length {
		return ctrl.Result{}, nil
	}
	if err := unstructured.SetNestedField(b.Object, length, "status", "length"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Update(ctx, b)
}
