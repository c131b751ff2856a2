// Package owner decides and writes which controller an object belongs to: adoption of matching orphans and release of
// objects that no longer match.
package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// Index is the name of the index that AddIndex adds.
const Index = "skiff.controllers/owner"

// AddIndex lets the informer answer the objects of one controller (by its UID) and the orphans of one namespace.
func AddIndex(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[Index]; ok {
		return nil
	}
	if err := informer.AddIndexers(cache.Indexers{Index: index}); err != nil {
		return fmt.Errorf("indexing by owner: %w", err)
	}
	return nil
}

func index(o any) ([]string, error) {
	object, ok := o.(metav1.Object)
	if !ok {
		return nil, nil
	}
	if ref := metav1.GetControllerOfNoCopy(object); ref != nil {
		return []string{string(ref.UID)}, nil
	}
	return []string{orphans(object.GetNamespace())}, nil
}

func orphans(namespace string) string { return "orphans/" + namespace }

// Candidates answers what Plan needs: the objects the owner controls and the orphans of its namespace, in the order
// of their names.
func Candidates[T metav1.Object](indexer cache.Indexer, of metav1.Object) ([]T, error) {
	var found []T
	for _, value := range []string{string(of.GetUID()), orphans(of.GetNamespace())} {
		items, err := indexer.ByIndex(Index, value)
		if err != nil {
			return nil, fmt.Errorf("reading the owner index: %w", err)
		}
		for _, item := range items {
			if t, ok := item.(T); ok && t.GetNamespace() == of.GetNamespace() {
				found = append(found, t)
			}
		}
	}
	slices.SortFunc(found, func(a, b T) int {
		switch {
		case a.GetName() < b.GetName():
			return -1
		case a.GetName() > b.GetName():
			return 1
		}
		return 0
	})
	return found, nil
}

// Claims is what is to be done about ownership.
type Claims[T metav1.Object] struct {
	Keep, Adopt, Release []T
}

// Plan sorts candidates: owned and matching objects are kept, owned ones that don't match are released, matching
// orphans are adopted. An owner that is being deleted neither adopts nor releases; a terminating orphan stays one.
func Plan[T metav1.Object](of metav1.Object, selector labels.Selector, candidates []T) Claims[T] {
	var c Claims[T]
	for _, o := range candidates {
		ref := metav1.GetControllerOfNoCopy(o)
		matches := selector.Matches(labels.Set(o.GetLabels()))
		switch {
		case ref != nil && ref.UID != of.GetUID():
		case ref != nil && matches:
			c.Keep = append(c.Keep, o)
		case of.GetDeletionTimestamp() != nil:
		case ref != nil:
			c.Release = append(c.Release, o)
		case matches && o.GetDeletionTimestamp() == nil:
			c.Adopt = append(c.Adopt, o)
		}
	}
	return c
}

// Claimer writes claims for one owner.
type Claimer[T metav1.Object] struct {
	// Owner is the controlling object and Kind its kind.
	Owner metav1.Object
	Kind  schema.GroupVersionKind
	// Finalizers are added with adoption.
	Finalizers []string
	// Fresh reads the owner from the server.
	Fresh func(ctx context.Context) (metav1.Object, error)
	// Patch applies a strategic merge patch to a claimed object and answers the result.
	Patch func(ctx context.Context, object T, patch []byte) (T, error)
	// Wrote is told of every result; may be nil.
	Wrote func(T)
}

// Apply writes the claims and answers the objects that the owner now controls. The owner is read uncached before the
// first adoption, so an object is never adopted by an owner that was deleted and recreated meanwhile.
func (c Claimer[T]) Apply(ctx context.Context, claims Claims[T]) ([]T, error) {
	owned := slices.Clone(claims.Keep)
	var errs []error
	if len(claims.Adopt) > 0 {
		adopted, err := c.adopt(ctx, claims.Adopt)
		owned = append(owned, adopted...)
		errs = append(errs, err)
	}
	for _, o := range claims.Release {
		errs = append(errs, c.patch(ctx, o, c.releasePatch(o), nil))
	}
	return owned, errors.Join(errs...)
}

func (c Claimer[T]) adopt(ctx context.Context, objects []T) ([]T, error) {
	fresh, err := c.Fresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s %s before adopting: %w", c.Kind.Kind, c.Owner.GetName(), err)
	}
	if fresh.GetUID() != c.Owner.GetUID() {
		return nil, fmt.Errorf("original %s %s/%s is gone: got uid %s, wanted %s", c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), fresh.GetUID(), c.Owner.GetUID())
	}
	if fresh.GetDeletionTimestamp() != nil {
		return nil, fmt.Errorf("%s %s/%s has just been deleted at %v", c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), fresh.GetDeletionTimestamp())
	}
	var adopted []T
	var errs []error
	for _, o := range objects {
		errs = append(errs, c.patch(ctx, o, c.adoptPatch(o), &adopted))
	}
	return adopted, errors.Join(errs...)
}

// patch ignores objects that are gone or were replaced: the UID in the patch then makes it invalid.
func (c Claimer[T]) patch(ctx context.Context, object T, patch map[string]any, claimed *[]T) error {
	raw, err := json.Marshal(map[string]any{"metadata": patch})
	if err != nil {
		return fmt.Errorf("encoding owner patch: %w", err)
	}
	result, err := c.Patch(ctx, object, raw)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("patching owner of %s: %w", object.GetName(), err)
	}
	if c.Wrote != nil {
		c.Wrote(result)
	}
	if claimed != nil {
		*claimed = append(*claimed, result)
	}
	return nil
}

func (c Claimer[T]) adoptPatch(object T) map[string]any {
	patch := map[string]any{"uid": object.GetUID(), "ownerReferences": []any{NewRef(c.Owner, c.Kind)}}
	if len(c.Finalizers) > 0 {
		patch["finalizers"] = c.Finalizers
	}
	return patch
}

func (c Claimer[T]) releasePatch(object T) map[string]any {
	patch := map[string]any{
		"uid":             object.GetUID(),
		"ownerReferences": []any{map[string]any{"$patch": "delete", "uid": c.Owner.GetUID()}},
	}
	if len(c.Finalizers) > 0 {
		patch["$deleteFromPrimitiveList/finalizers"] = c.Finalizers
	}
	return patch
}

// NewRef answers the reference that makes owner the controller of an object and lets it block foreground deletion.
func NewRef(of metav1.Object, kind schema.GroupVersionKind) metav1.OwnerReference {
	return *metav1.NewControllerRef(of, kind)
}

// IsControlledBy answers whether uid is the controller of o.
func IsControlledBy(o metav1.Object, uid types.UID) bool {
	ref := metav1.GetControllerOfNoCopy(o)
	return ref != nil && ref.UID == uid
}
