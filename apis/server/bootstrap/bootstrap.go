// Package bootstrap makes the objects that every cluster has, and at every start
// repairs them: what is missing is created, rules and subjects that were taken
// away are added again unless the object says autoupdate=false, what was added
// stays.
//
// Each step lists a kind once and writes only differences, so a restart costs
// one read per kind.
package bootstrap

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// writers is how many objects of a kind are written at once.
const writers = 8

// Bootstrap writes with full rights.
type Bootstrap struct{ Client kubernetes.Interface }

// object is a pointer to an API type.
type object[T any] interface {
	*T
	metav1.Object
}

// client is what a typed client of client-go offers for one kind.
type client[P, L any] interface {
	Create(context.Context, P, metav1.CreateOptions) (P, error)
	Update(context.Context, P, metav1.UpdateOptions) (P, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
	List(context.Context, metav1.ListOptions) (L, error)
}

// kind is one kind's client, wanted objects and way to mend an existing one.
type kind[T any, P object[T], L any] struct {
	client client[P, L]
	items  func(L) []T
	want   func() ([]T, error)
	// change returns what have must become, and whether it differs. Nil means
	// that an object that exists is left alone.
	change  func(have, want P) (P, bool)
	manager string // of the fields; "" is the client
}

// ensure brings one kind to its wanted state. Objects that another server
// writes at the same time are taken as they are.
func (k kind[T, P, L]) ensure(ctx context.Context) error {
	want, err := k.want()
	if err != nil {
		return err
	}
	list, err := k.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing %T: %w", *new(T), err)
	}
	have := map[string]P{}
	existing := k.items(list)
	for i := range existing {
		o := P(&existing[i])
		have[o.GetNamespace()+"/"+o.GetName()] = o
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i := range want {
		w := P(&want[i])
		old := have[w.GetNamespace()+"/"+w.GetName()]
		g.Go(func() error { return k.write(ctx, old, w) })
	}
	return g.Wait()
}

func (k kind[T, P, L]) write(ctx context.Context, have, want P) error {
	if have == nil {
		if _, err := k.client.Create(ctx, want, metav1.CreateOptions{FieldManager: k.manager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating %T %s: %w", *want, want.GetName(), err)
		}
		return nil
	}
	if k.change == nil {
		return nil
	}
	changed, differs := k.change(have, want)
	if !differs {
		return nil
	}
	if _, err := k.client.Update(ctx, changed, metav1.UpdateOptions{FieldManager: k.manager}); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating %T %s: %w", *want, want.GetName(), err)
	}
	return nil
}
