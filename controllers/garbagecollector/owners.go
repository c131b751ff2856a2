package garbagecollector

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
)

// errUnknownKind says that the server does not serve a kind (yet, or any more). Nothing is deleted on its account.
var errUnknownKind = errors.New("kind is not served")

func (r *reconciler) kind(apiVersion, kind string) (Kind, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Kind{}, fmt.Errorf("%s %s: %w", apiVersion, kind, errUnknownKind)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kinds.Known[gv.WithKind(kind)]
	if !ok {
		return Kind{}, fmt.Errorf("%s %s: %w", apiVersion, kind, errUnknownKind)
	}
	return k, nil
}

func (r *reconciler) client(node Node) (metadata.ResourceInterface, error) {
	k, err := r.kind(node.APIVersion, node.Kind)
	if err != nil {
		return nil, err
	}
	if k.Namespaced {
		return r.objects.Resource(k.GVR).Namespace(node.Namespace), nil
	}
	return r.objects.Resource(k.GVR), nil
}

// ownerState asks the graph first: an owner that is there and not terminating is solid, and its end will be an event.
// That an owner is absent only the server can say.
func (r *reconciler) ownerState(ctx context.Context, node Node, ref metav1.OwnerReference) (OwnerState, error) {
	r.mu.Lock()
	known, ok := r.graph.Get(ref.UID)
	r.mu.Unlock()
	if ok && !known.Virtual && !known.Deleting && names(ref, node.Namespace, known.Ref) {
		return Solid, nil
	}
	if ok && !known.Virtual && known.Namespace != "" && known.Namespace != node.Namespace {
		r.tellMisplaced(node, ref)
	}
	k, err := r.kind(ref.APIVersion, ref.Kind)
	if err != nil {
		return Solid, err
	}
	if k.Namespaced && node.Namespace == "" {
		return Solid, nil // such a reference is invalid, and what is invalid deletes nothing
	}
	owner := r.objects.Resource(k.GVR).Namespace(namespaceOf(k, node))
	found, err := owner.Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Absent, nil
	case err != nil:
		return Solid, fmt.Errorf("reading owner %s %s: %w", ref.Kind, ref.Name, err)
	case found.UID != ref.UID:
		return Absent, nil
	case found.DeletionTimestamp != nil && slices.Contains(found.Finalizers, metav1.FinalizerDeleteDependents):
		return Waiting, nil
	}
	return Solid, nil
}

func names(ref metav1.OwnerReference, namespace string, actual Ref) bool {
	return ref.Kind == actual.Kind && ref.Name == actual.Name && group(ref.APIVersion) == group(actual.APIVersion) &&
		(actual.Namespace == "" || actual.Namespace == namespace)
}

func group(apiVersion string) string {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return apiVersion
	}
	return gv.Group
}

func namespaceOf(k Kind, node Node) string {
	if k.Namespaced {
		return node.Namespace
	}
	return ""
}

// tellMisplaced warns of an owner that lives in another namespace than its dependent: to that it isn't there.
func (r *reconciler) tellMisplaced(node Node, ref metav1.OwnerReference) {
	about := &corev1.ObjectReference{APIVersion: node.APIVersion, Kind: node.Kind, Namespace: node.Namespace, Name: node.Name, UID: node.UID}
	r.env.Events.Eventf(about, corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
		"ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q", ref.APIVersion, ref.Kind, node.Namespace, ref.Name, ref.UID, node.Namespace)
}
