package batch

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"skiff/apis/resource"
)

// Labels of the versions before the prefixed ones; pods carry both.
const (
	legacyJobName       = "job-name"
	legacyControllerUID = "controller-uid"
)

const podsStay = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"

// jobEndpoint warns those who delete a job without saying what becomes of its pods.
type jobEndpoint struct{ *resource.Endpoint }

// Delete implements rest.GracefulDeleter.
func (e jobEndpoint) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	warnPodsStay(ctx, options)
	return e.Endpoint.Delete(ctx, name, validate, options)
}

// DeleteCollection implements rest.CollectionDeleter.
func (e jobEndpoint) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *internalversion.ListOptions) (runtime.Object, error) {
	warnPodsStay(ctx, options)
	return e.Endpoint.DeleteCollection(ctx, validate, options, list)
}

func warnPodsStay(ctx context.Context, options *metav1.DeleteOptions) {
	//nolint:staticcheck // OrphanDependents is what old clients send
	if options != nil && options.PropagationPolicy == nil && options.OrphanDependents == nil {
		warning.AddWarning(ctx, "", podsStay)
	}
}
