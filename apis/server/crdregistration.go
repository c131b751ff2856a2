package server

import (
	"context"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

const (
	autoregisterWorkers = 5
	// Custom groups sort behind every built-in one, as upstream registers them.
	crdGroupPriority, crdVersionPriority = 1000, 100
)

// registrar keeps an APIService while it is listed (the aggregator's
// autoregistration controller).
type registrar interface {
	AddAPIServiceToSync(*apiregistrationv1.APIService)
	RemoveAPIServiceToSync(name string)
}

// crdRegistration makes the aggregator route every group version that some
// established or pending CRD serves to the custom resource server.
type crdRegistration struct {
	lister  listers.CustomResourceDefinitionLister
	synced  cache.DoneChecker
	target  registrar
	queue   workqueue.TypedRateLimitingInterface[schema.GroupVersion]
	initial chan struct{} // closed when the CRDs found at start are registered
}

func newCRDRegistration(crds informers.CustomResourceDefinitionInformer, target registrar) *crdRegistration {
	r := &crdRegistration{
		lister: crds.Lister(), synced: crds.Informer().HasSyncedChecker(), target: target,
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[schema.GroupVersion]()),
		initial: make(chan struct{}),
	}
	// The error says that the informer has stopped, which it can't before it starts.
	_, _ = crds.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.enqueue(o) },
		UpdateFunc: func(old, o any) { r.enqueue(old); r.enqueue(o) },
		DeleteFunc: func(o any) { r.enqueue(o) },
	})
	return r
}

func (r *crdRegistration) enqueue(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	crd, ok := o.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	for _, v := range crd.Spec.Versions {
		r.queue.Add(schema.GroupVersion{Group: crd.Spec.Group, Version: v.Name})
	}
}

// run works until ctx ends. What exists at start is registered first, so that
// the server is not ready before it serves it.
func (r *crdRegistration) run(ctx context.Context) {
	defer context.AfterFunc(ctx, r.queue.ShutDown)()
	if !cache.WaitFor(ctx, "", r.synced) {
		return
	}
	crds, err := r.lister.List(labels.Everything())
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing custom resource definitions")
	}
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			r.sync(ctx, schema.GroupVersion{Group: crd.Spec.Group, Version: v.Name})
		}
	}
	close(r.initial)
	for {
		gv, stop := r.queue.Get()
		if stop {
			return
		}
		r.sync(ctx, gv)
		r.queue.Forget(gv)
		r.queue.Done(gv)
	}
}

func (r *crdRegistration) sync(ctx context.Context, gv schema.GroupVersion) {
	crds, err := r.lister.List(labels.Everything())
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing custom resource definitions")
		return
	}
	if servesVersion(crds, gv) {
		r.target.AddAPIServiceToSync(localService(gv, rank{crdGroupPriority, crdVersionPriority}))
		return
	}
	r.target.RemoveAPIServiceToSync(fmt.Sprintf("%s.%s", gv.Version, gv.Group))
}

// servesVersion reports whether any CRD serves the group version.
func servesVersion(crds []*apiextensionsv1.CustomResourceDefinition, gv schema.GroupVersion) bool {
	return slices.ContainsFunc(crds, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return crd.Spec.Group == gv.Group && slices.ContainsFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return v.Name == gv.Version && v.Served
		})
	})
}

// waitForInitial returns false when ctx ended first.
func (r *crdRegistration) waitForInitial(ctx context.Context) bool {
	select {
	case <-r.initial:
		return true
	case <-ctx.Done():
		return false
	}
}
