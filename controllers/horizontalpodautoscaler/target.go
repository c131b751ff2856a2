package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/scale"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/kinds"
)

// target reads and writes what autoscalers scale.
type target struct {
	kinds  *kinds.Kinds
	scales scale.ScalesGetter
}

func newTarget(env controller.Env, known *kinds.Kinds) (*target, error) {
	scales, err := known.Scales(env)
	if err != nil {
		return nil, err
	}
	return &target{kinds: known, scales: scales}, nil
}

// find answers the scale of an autoscaler's target and the resource that it belongs to. shown is what the user is
// told of an error.
func (t *target) find(ctx context.Context, a *autoscalingv2.HorizontalPodAutoscaler) (found *autoscalingv1.Scale, of schema.GroupResource, shown, err error) {
	ref := a.Spec.ScaleTargetRef
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, of, err, fmt.Errorf("invalid API version in scale target reference: %w%w", err, errSpec)
	}
	kind := schema.GroupKind{Group: version.Group, Kind: ref.Kind}
	for {
		mappings, err := t.kinds.RESTMappingsWithContext(ctx, kind)
		switch {
		case meta.IsNoMatchError(err) && t.kinds.Renew(ctx):
			continue
		case err != nil:
			return nil, of, err, fmt.Errorf("unable to determine resource for scale target reference: %w", err)
		}
		found, of, err = t.first(ctx, a.Namespace, ref.Name, mappings)
		switch {
		case apierrors.IsNotFound(err) && t.kinds.Renew(ctx): // the kind may have moved to another resource
		case err != nil:
			return nil, of, err, fmt.Errorf("failed to query scale subresource for %s: %w", Reference(a), err)
		default:
			return found, of, nil, nil
		}
	}
}

// first answers the first scale that can be read, or why the first could not be.
func (t *target) first(ctx context.Context, namespace, name string, mappings []*meta.RESTMapping) (*autoscalingv1.Scale, schema.GroupResource, error) {
	failed := errors.New("unrecognized resource")
	for i, m := range mappings {
		of := m.Resource.GroupResource()
		found, err := t.scales.Scales(namespace).Get(ctx, of, name, metav1.GetOptions{})
		if err == nil {
			return found, of, nil
		}
		if i == 0 {
			failed = err
		}
	}
	return nil, schema.GroupResource{}, failed
}

// attempts is how often a scale is written that others change.
const attempts = 5

// set gives a target that number of replicas.
func (t *target) set(ctx context.Context, of schema.GroupResource, found *autoscalingv1.Scale, replicas int32) error {
	scales := t.scales.Scales(found.Namespace)
	for i := 1; ; i++ {
		changed := found.DeepCopy()
		changed.Spec.Replicas = replicas
		_, err := scales.Update(ctx, of, changed, metav1.UpdateOptions{})
		if i == attempts || !apierrors.IsConflict(err) {
			return err
		}
		if newer, getErr := scales.Get(ctx, of, found.Name, metav1.GetOptions{}); getErr == nil {
			found = newer
		}
	}
}
