package storageversionmigrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/controllers/internal/controller"
)

const (
	// writer is the field manager of the patches, which change no field.
	writer = "storage-version-migrator-controller"
	page   = 500
)

// rewrite writes all objects that are older than the migration's version.
func (r *reconciler) rewrite(ctx context.Context, key controller.Key, m *Migration) (controller.Result, error) {
	kind, ok, err := discover(r.env.Client.Discovery(), m.Spec.Resource)
	if err != nil {
		return controller.Result{}, err
	}
	if !ok {
		return r.missing(ctx, key, m, Failed(m, errors.New("unable to obtain GVR from discovery"), r.env.Clock.Now()))
	}
	objects, err := r.list(ctx, kind)
	if err != nil {
		return r.interrupt(ctx, key, m, Progress{}, err)
	}
	old, err := Old(objects, m.Status.ResourceVersion)
	if err != nil {
		return controller.Result{}, r.update(ctx, key, Failed(m, err, r.env.Clock.Now()))
	}
	p := Progress{Left: len(old), Total: len(objects)}
	for _, o := range old {
		err := r.write(ctx, kind, o)
		switch {
		case err == nil:
			p.Left--
		case Passing(err):
			return r.interrupt(ctx, key, m, p, err)
		default:
			return controller.Result{}, r.update(ctx, key, FailedAt(m, p, err, r.env.Clock.Now()))
		}
	}
	return controller.Result{}, r.update(ctx, key, Succeeded(m, p, r.env.Clock.Now()))
}

// interrupt shows what is wrong and tries again, not before the server wants it.
func (r *reconciler) interrupt(ctx context.Context, key controller.Key, m *Migration, p Progress, why error) (controller.Result, error) {
	if err := ctx.Err(); err != nil {
		return controller.Result{}, err
	}
	if err := r.update(ctx, key, Interrupted(m, p, why, r.env.Clock.Now())); err != nil {
		return controller.Result{}, err
	}
	if seconds, ok := apierrors.SuggestsClientDelay(why); ok {
		return controller.Result{RequeueAfter: max(time.Duration(seconds)*time.Second, again)}, nil
	}
	return controller.Result{}, why
}

// list answers all objects of the kind.
func (r *reconciler) list(ctx context.Context, kind Kind) ([]Object, error) {
	var objects []Object
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := r.objects.Resource(kind.GVR).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", kind.GVR.String(), err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			objects = append(objects, Object{o.Namespace, o.Name, o.ResourceVersion})
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return objects, nil
		}
	}
}

// write writes the object as it is. One that is gone, or that somebody else has written, is done.
func (r *reconciler) write(ctx context.Context, kind Kind, o Object) error {
	version, name := kind.GVK.ToAPIVersionAndKind()
	patch, err := json.Marshal(map[string]any{"apiVersion": version, "kind": name, "metadata": map[string]any{"resourceVersion": o.Version}})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = r.objects.Resource(kind.GVR).Namespace(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: writer})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err // as the server said it: users read it
}

// Passing answers whether the error may be another when it is tried again: the server is busy, or did not answer.
func Passing(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsTimeout(err)
}
