package core

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

// bindingEndpoint serves pods/NAME/binding: it gives a pod its node.
type bindingEndpoint struct{ store *registry.Store }

var (
	_ rest.NamedCreater                   = bindingEndpoint{}
	_ rest.SubresourceObjectMetaPreserver = bindingEndpoint{}
)

func (e bindingEndpoint) New() runtime.Object { return &corev1.Binding{} }
func (e bindingEndpoint) Destroy()            {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the uid and the
// version that were sent: the pod must have them.
func (e bindingEndpoint) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

func (e bindingEndpoint) Create(ctx context.Context, name string, obj runtime.Object, valid rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	b, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != b.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(b); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if valid != nil {
		if err := valid(ctx, b.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := e.assign(ctx, b, dryrun.IsDryRun(o.DryRun)); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func validateBinding(b *corev1.Binding) (errs field.ErrorList) {
	path := field.NewPath("target")
	if kind := b.Target.Kind; kind != "" && kind != "Node" {
		errs = append(errs, field.NotSupported(path.Child("kind"), kind, []string{"Node", "<empty>"}))
	}
	return append(errs, validate.Required(b.Target.Name, path.Child("name"))...)
}

// assign writes the node into the pod; a pod is assigned once.
func (e bindingEndpoint) assign(ctx context.Context, b *corev1.Binding, dry bool) error {
	key, err := e.store.KeyFunc(ctx, b.Name)
	if err != nil {
		return err
	}
	var pre *storage.Preconditions
	if b.UID != "" || b.ResourceVersion != "" {
		pre = &storage.Preconditions{}
		if b.UID != "" {
			pre.UID = &b.UID
		}
		if b.ResourceVersion != "" {
			pre.ResourceVersion = &b.ResourceVersion
		}
	}
	err = e.store.Storage.GuaranteedUpdate(ctx, key, &corev1.Pod{}, false, pre, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		return bound(obj.(*corev1.Pod), b)
	}), dry, nil)
	if err == nil {
		return nil
	}
	pods := schema.GroupResource{Resource: "pods"}
	err = storeerr.InterpretGetError(err, pods, b.Name)
	err = storeerr.InterpretUpdateError(err, pods, b.Name)
	if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, b.Name, err)
	}
	return err
}

func bound(p *corev1.Pod, b *corev1.Binding) (*corev1.Pod, error) {
	switch {
	case p.DeletionTimestamp != nil:
		return nil, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", p.Name)
	case p.Spec.NodeName != "":
		return nil, fmt.Errorf("pod %v is already assigned to node %q", p.Name, p.Spec.NodeName)
	case len(p.Spec.SchedulingGates) > 0:
		return nil, fmt.Errorf("pod %v has non-empty .spec.schedulingGates", p.Name)
	}
	p.Spec.NodeName, p.Status.NominatedNodeName = b.Target.Name, ""
	merge(&p.Annotations, b.Annotations)
	merge(&p.Labels, b.Labels)
	setCondition(&p.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	return p, nil
}

func merge(to *map[string]string, from map[string]string) {
	if *to == nil && len(from) > 0 {
		*to = map[string]string{}
	}
	maps.Copy(*to, from)
}

// setCondition writes a condition; its transition time is now when its status changes.
func setCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	c.LastTransitionTime = metav1.Now()
	for i := range s.Conditions {
		if have := &s.Conditions[i]; have.Type == c.Type {
			if have.Status == c.Status {
				c.LastTransitionTime = have.LastTransitionTime
			}
			*have = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// bindingCollection is the older form of pods/NAME/binding: POST to bindings.
type bindingCollection struct{ bindingEndpoint }

var _ rest.Creater = bindingCollection{}

func (bindingCollection) NamespaceScoped() bool   { return true }
func (bindingCollection) GetSingularName() string { return "binding" }

// Create implements rest.Creater.
func (e bindingCollection) Create(ctx context.Context, obj runtime.Object, valid rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	meta, ok := obj.(metav1.Object)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return e.bindingEndpoint.Create(ctx, meta.GetName(), obj, valid, o)
}

// podResource serves the collection of bindings beside the pods, and lets
// evictions write the status.
type podResource struct {
	resource.Definition[*corev1.Pod]
}

// Storage implements resource.Resource.
func (r podResource) Storage(s *runtime.Scheme, opts generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	out, err := r.Definition.Storage(s, opts)
	if err != nil {
		return nil, err
	}
	out["bindings"] = bindingCollection{out["pods/binding"].(bindingEndpoint)}
	evictions := out["pods/eviction"].(evictionEndpoint)
	evictions.status = out["pods/status"].(rest.Updater)
	out["pods/eviction"] = evictions
	return out, nil
}
