package bootstrap

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/config/manifests"
)

// flowControlManager owns the fields of the default flow control objects.
const flowControlManager = "api-priority-and-fairness-config-producer-v1"

// FlowControl keeps the default priority levels and flow schemas. The two
// mandatory ones of each kind always get their specs back; of the others it
// leaves alone those that their annotation says are the operator's. An object
// that is annotated as the server's but is no default any more is removed.
func (b Bootstrap) FlowControl(ctx context.Context) error {
	levels, schemas := b.priorityLevels(), b.flowSchemas()
	for _, step := range []func(context.Context) error{levels.ensure, schemas.ensure, schemas.removeObsolete, levels.removeObsolete} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b Bootstrap) priorityLevels() kind[flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfigurationList] {
	return kind[flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfigurationList]{
		client: b.Client.FlowcontrolV1().PriorityLevelConfigurations(),
		items: func(l *flowcontrolv1.PriorityLevelConfigurationList) []flowcontrolv1.PriorityLevelConfiguration {
			return l.Items
		},
		want: manifests.PriorityLevels,
		change: func(have, want *flowcontrolv1.PriorityLevelConfiguration) (*flowcontrolv1.PriorityLevelConfiguration, bool) {
			marked, ours := mark(have)
			if !ours || equality.Semantic.DeepEqual(have.Spec, want.Spec) {
				return have, marked
			}
			have.Spec = want.Spec
			return have, true
		},
		manager: flowControlManager,
	}
}

func (b Bootstrap) flowSchemas() kind[flowcontrolv1.FlowSchema, *flowcontrolv1.FlowSchema, *flowcontrolv1.FlowSchemaList] {
	return kind[flowcontrolv1.FlowSchema, *flowcontrolv1.FlowSchema, *flowcontrolv1.FlowSchemaList]{
		client: b.Client.FlowcontrolV1().FlowSchemas(),
		items:  func(l *flowcontrolv1.FlowSchemaList) []flowcontrolv1.FlowSchema { return l.Items },
		want:   manifests.FlowSchemas,
		change: func(have, want *flowcontrolv1.FlowSchema) (*flowcontrolv1.FlowSchema, bool) {
			marked, ours := mark(have)
			if !ours || equality.Semantic.DeepEqual(have.Spec, want.Spec) {
				return have, marked
			}
			have.Spec = want.Spec
			return have, true
		},
		manager: flowControlManager,
	}
}

// mark tells whether the spec of a default object is the server's, and writes
// that into its annotation. Where the annotation does not say, it is if nobody
// has changed the spec so far.
func mark(o metav1.Object) (changed, ours bool) {
	said, err := strconv.ParseBool(o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	switch {
	case mandatory(o.GetName()):
		ours = true
	case err == nil:
		ours = said
	default:
		ours = o.GetGeneration() == 1
	}
	if err == nil && said == ours {
		return false, ours
	}
	annotations := maps.Clone(o.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(ours)
	o.SetAnnotations(annotations)
	return true, ours
}

// mandatory names the objects without which a request might belong nowhere.
func mandatory(name string) bool { return name == "exempt" || name == "catch-all" }

// removeObsolete deletes what is annotated as the server's and no longer wanted.
func (k kind[T, P, L]) removeObsolete(ctx context.Context) error {
	want, err := k.want()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for i := range want {
		wanted[P(&want[i]).GetName()] = true
	}
	list, err := k.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing %T: %w", *new(T), err)
	}
	have := k.items(list)
	for i := range have {
		o := P(&have[i])
		ours, err := strconv.ParseBool(o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
		if wanted[o.GetName()] || err != nil || !ours {
			continue
		}
		version := o.GetResourceVersion()
		err = k.client.Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing %T %s: %w", *o, o.GetName(), err)
		}
	}
	return nil
}
