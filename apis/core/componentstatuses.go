package core

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

// componentStatuses asks the parts of this process how they are; nothing is stored.
func componentStatuses(deps Deps) resource.Resource {
	gvr := corev1.SchemeGroupVersion.WithResource("componentstatuses")
	return resource.Virtual{
		Resource: gvr,
		Types:    map[schema.GroupVersion][]runtime.Object{corev1.SchemeGroupVersion: {&corev1.ComponentStatus{}, &corev1.ComponentStatusList{}}},
		Build: func(*runtime.Scheme, generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
			table := resource.NewTable(resource.Definition[*corev1.ComponentStatus]{Resource: gvr, Columns: componentColumns()})
			return map[string]rest.Storage{gvr.Resource: componentEndpoint{table, deps.Health}}, nil
		},
	}
}

func componentColumns() []resource.Column[*corev1.ComponentStatus] {
	type status = *corev1.ComponentStatus
	condition := func(f func(corev1.ComponentCondition) string) func(status) any {
		return func(s status) any {
			for _, c := range s.Conditions {
				if c.Type == corev1.ComponentHealthy {
					return f(c)
				}
			}
			return "Unknown"
		}
	}
	return []resource.Column[status]{
		{Name: "Status", Type: "string", Help: "Status of the component conditions", Value: condition(func(c corev1.ComponentCondition) string {
			if c.Status == corev1.ConditionTrue {
				return "Healthy"
			}
			return "Unhealthy"
		})},
		{Name: "Message", Type: "string", Help: "Message of the component conditions", Value: condition(func(c corev1.ComponentCondition) string { return c.Message })},
		{Name: "Error", Type: "string", Help: "Error of the component conditions", Value: condition(func(c corev1.ComponentCondition) string { return c.Error })},
		resource.NoAge[status](),
	}
}

type componentEndpoint struct {
	rest.TableConvertor
	health map[string]func(context.Context) error
}

var (
	_ rest.Lister = componentEndpoint{}
	_ rest.Getter = componentEndpoint{}
)

func (e componentEndpoint) New() runtime.Object     { return &corev1.ComponentStatus{} }
func (e componentEndpoint) NewList() runtime.Object { return &corev1.ComponentStatusList{} }
func (e componentEndpoint) Destroy()                {}
func (e componentEndpoint) NamespaceScoped() bool   { return false }
func (e componentEndpoint) GetSingularName() string { return "componentstatus" }
func (e componentEndpoint) ShortNames() []string    { return []string{"cs"} }

func (e componentEndpoint) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	check, ok := e.health[name]
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("componentstatus"), name)
	}
	s := componentStatus(ctx, name, check)
	return &s, nil
}

func (e componentEndpoint) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	out := &corev1.ComponentStatusList{}
	for _, name := range slices.Sorted(maps.Keys(e.health)) {
		if o != nil && o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set{}) {
			continue
		}
		out.Items = append(out.Items, componentStatus(ctx, name, e.health[name]))
	}
	return out, nil
}

func componentStatus(ctx context.Context, name string, check func(context.Context) error) corev1.ComponentStatus {
	c := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err := check(ctx); err != nil {
		c.Status, c.Message, c.Error = corev1.ConditionFalse, "", err.Error()
	}
	return corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{c}}
}
