package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"
)

// content deletes what a namespace holds, of every kind the server knows at that moment.
type content struct {
	discovery discovery.DiscoveryInterface
	objects   metadata.Interface
	clock     clock.PassiveClock
}

// kind is one deletable resource.
type kind struct {
	gvr              schema.GroupVersionResource
	list, collection bool
}

// purge makes one pass. Pods go first: while any is left nothing else is touched, so that what protects or
// configures a running pod outlives it.
func (c content) purge(ctx context.Context, ns *corev1.Namespace) Findings {
	f := Findings{Remaining: map[schema.GroupVersionResource]int{}, Finalizers: map[string]int{}}
	kinds := c.kinds(&f)
	isPods := func(k kind) bool { return k.gvr == corev1.SchemeGroupVersion.WithResource("pods") }
	if i := slices.IndexFunc(kinds, isPods); i >= 0 {
		c.purgeKind(ctx, ns, kinds[i], &f)
		if len(f.Remaining) > 0 || len(f.Deletion) > 0 {
			return f
		}
	}
	for _, k := range kinds {
		if !isPods(k) {
			c.purgeKind(ctx, ns, k, &f)
		}
	}
	return f
}

func (c content) kinds(f *Findings) []kind {
	lists, err := discovery.ServerPreferredNamespacedResources(c.discovery)
	f.Discovery = err
	var kinds []kind
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			f.GroupVersions = err
			continue
		}
		for _, r := range l.APIResources {
			if slices.Contains(r.Verbs, "delete") {
				kinds = append(kinds, kind{gv.WithResource(r.Name), slices.Contains(r.Verbs, "list"), slices.Contains(r.Verbs, "deletecollection")})
			}
		}
	}
	return kinds
}

func (c content) purgeKind(ctx context.Context, ns *corev1.Namespace, k kind, f *Findings) {
	objects := c.objects.Resource(k.gvr).Namespace(ns.Name)
	left, err := c.left(ctx, objects, k)
	if err == nil && len(left) > 0 {
		err = c.delete(ctx, objects, k, left)
		if err == nil {
			left, err = c.left(ctx, objects, k)
		}
	}
	if err == nil && Overdue(left, ns.DeletionTimestamp.Time, c.clock.Now()) {
		err = fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", ns.Name, k.gvr)
	}
	if err != nil { // users read it in a condition: upstream's words
		f.Deletion = append(f.Deletion, err)
	}
	if len(left) > 0 {
		f.Remaining[k.gvr] = len(left)
	}
	for i := range left {
		for _, name := range left[i].Finalizers {
			f.Finalizers[name]++
		}
	}
}

func (c content) delete(ctx context.Context, objects metadata.ResourceInterface, k kind, left []metav1.PartialObjectMetadata) error {
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if k.collection {
		err := objects.DeleteCollection(ctx, options, metav1.ListOptions{})
		if !apierrors.IsMethodNotSupported(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	var errs []error
	for i := range left {
		if err := objects.Delete(ctx, left[i].Name, options); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// left lists what is there; kinds that cannot be listed have nothing that could be deleted one by one.
func (c content) left(ctx context.Context, objects metadata.ResourceInterface, k kind) ([]metav1.PartialObjectMetadata, error) {
	if !k.list {
		return nil, nil
	}
	found, err := objects.List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return found.Items, nil
}
