// Package metrics serves metrics.k8s.io: what nodes and pods use at present, as
// metrics-server does, with nothing installed. It asks the kubelets while
// somebody asks for it, and rests otherwise. An APIService for the group takes
// its place.
package metrics

import (
	"context"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"skiff/apis/resource"
)

// Kubelets are asked what nodes and pods use.
type Kubelets interface {
	// ResourceMetrics answers the text of /metrics/resource of the node's
	// kubelet, which the caller closes. It doesn't outlast ctx.
	ResourceMetrics(ctx context.Context, nodeName string) (io.ReadCloser, error)
}

// Deps is what the group needs of the server.
type Deps struct {
	Kubelets  Kubelets
	Informers informers.SharedInformerFactory // of nodes and pods
}

// Resources lists what the group serves.
func Resources(d Deps) []resource.Resource {
	registerCounters()
	core := d.Informers.Core().V1()
	s := newSampler(d.Kubelets, core.Nodes().Lister())
	return []resource.Resource{
		sampled{endpointResource("nodes", nodeTypes(), newNodes(s, core.Nodes().Lister())), s, core.Nodes().Informer().HasSyncedChecker()},
		yielding{endpointResource("pods", podTypes(), newPods(s, core.Pods().Lister()))},
	}
}

// yielding is a resource that stands back for an APIService of its group version.
type yielding struct{ resource.Virtual }

// Yields tells the server to register no APIService of its own.
func (yielding) Yields() {}

// sampled is the resource under whose name the sampler works.
type sampled struct {
	resource.Virtual
	sampler *sampler
	synced  cache.DoneChecker // of nodes
}

// Yields tells the server to register no APIService of its own.
func (sampled) Yields() {}

// Keep takes samples, while they are wanted, until ctx ends.
func (s sampled) Keep(ctx context.Context) {
	if cache.WaitFor(ctx, "", s.synced) {
		s.sampler.run(ctx)
	}
}

func endpointResource(plural string, types []runtime.Object, endpoint rest.Storage) resource.Virtual {
	gv := metricsv1beta1.SchemeGroupVersion
	return resource.Virtual{
		Resource: gv.WithResource(plural),
		Types:    map[schema.GroupVersion][]runtime.Object{gv: types},
		Build: func(*runtime.Scheme, generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
			return map[string]rest.Storage{plural: endpoint}, nil
		},
	}
}

// columns are metrics-server's.
func columns[T resource.Object](usage func(T) corev1.ResourceList, window func(T) metav1.Duration) []resource.Column[T] {
	quantity := func(name corev1.ResourceName) func(T) any {
		return func(o T) any {
			q := usage(o)[name]
			return q.String()
		}
	}
	return []resource.Column[T]{
		{Name: "Name", Type: "string", Format: "name", Help: "Name of the resource", Value: func(o T) any { return o.GetName() }},
		{Name: "cpu", Type: "string", Format: "quantity", Value: quantity(corev1.ResourceCPU)},
		{Name: "memory", Type: "string", Format: "quantity", Value: quantity(corev1.ResourceMemory)},
		{Name: "Window", Type: "string", Format: "duration", Value: func(o T) any { return window(o).Duration.String() }},
		resource.NoAge[T](),
	}
}

// selection is what a list asks for.
type selection struct {
	labels labels.Selector
	fields fields.Selector
}

func selected(o *metainternalversion.ListOptions) selection {
	s := selection{labels.Everything(), fields.Everything()}
	if o != nil && o.LabelSelector != nil {
		s.labels = o.LabelSelector
	}
	if o != nil && o.FieldSelector != nil {
		s.fields = o.FieldSelector
	}
	return s
}

// names reports whether the fields of the object are asked for.
func (s selection) names(o metav1.Object) bool {
	return s.fields.Empty() || s.fields.Matches(fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()})
}

func now() time.Time { return time.Now() } //nolint:forbidigo // tests run in a bubble
