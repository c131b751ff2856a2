package disruption

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/scale"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/kinds"
)

// owners knows how many pods the controllers of pods want.
type owners struct {
	sets         appslisters.ReplicaSetLister
	deployments  appslisters.DeploymentLister
	statefulSets appslisters.StatefulSetLister
	controllers  corelisters.ReplicationControllerLister
	kinds        *kinds.Kinds
	scales       scale.ScalesGetter
	discovery    discovery.DiscoveryInterface
}

func newOwners(env controller.Env) (owners, error) {
	apps, known := env.Informers.Apps().V1(), kinds.New(env)
	scales, err := known.Scales(env)
	return owners{
		apps.ReplicaSets().Lister(), apps.Deployments().Lister(), apps.StatefulSets().Lister(),
		env.Informers.Core().V1().ReplicationControllers().Lister(), known, scales, env.Client.Discovery(),
	}, err
}

// scaled is an object that wants a number of pods.
type scaled struct {
	uid      types.UID
	replicas int32
}

// total sums what the controllers of the pods want, each counted once. It also names the pods that have none. What it
// says of errors is shown to users, in upstream's words.
func (o owners) total(ctx context.Context, pods []*corev1.Pod) (total int32, unmanaged []string, err error) {
	known, counted := map[types.UID]bool{}, map[types.UID]bool{}
	for _, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			unmanaged = append(unmanaged, p.Name)
			continue
		}
		if known[ref.UID] {
			continue
		}
		known[ref.UID] = true
		top, err := o.top(ctx, p.Namespace, ref)
		if err != nil {
			return 0, nil, err
		}
		if top == nil {
			return 0, nil, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		if !counted[top.uid] {
			counted[top.uid] = true
			total += top.replicas
		}
	}
	return total, unmanaged, nil
}

// top answers the controller at the top with its number of replicas; nil if it is gone.
func (o owners) top(ctx context.Context, namespace string, ref *metav1.OwnerReference) (*scaled, error) {
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	var object metav1.Object
	var replicas *int32
	switch version.WithKind(ref.Kind).GroupKind() {
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		set, getErr := o.sets.ReplicaSets(namespace).Get(ref.Name)
		if err = getErr; err == nil {
			if up := metav1.GetControllerOfNoCopy(set); set.UID == ref.UID && up != nil && up.Kind == "Deployment" {
				return o.top(ctx, namespace, up)
			}
			object, replicas = set, set.Spec.Replicas
		}
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		d, getErr := o.deployments.Deployments(namespace).Get(ref.Name)
		if err = getErr; err == nil {
			object, replicas = d, d.Spec.Replicas
		}
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		s, getErr := o.statefulSets.StatefulSets(namespace).Get(ref.Name)
		if err = getErr; err == nil {
			object, replicas = s, s.Spec.Replicas
		}
	case schema.GroupKind{Kind: "ReplicationController"}:
		c, getErr := o.controllers.ReplicationControllers(namespace).Get(ref.Name)
		if err = getErr; err == nil {
			object, replicas = c, c.Spec.Replicas
		}
	default:
		return o.other(ctx, namespace, version.WithKind(ref.Kind), ref)
	}
	switch {
	case apierrors.IsNotFound(err), err == nil && object.GetUID() != ref.UID:
		return nil, nil
	case err != nil:
		return nil, err
	case replicas == nil:
		return &scaled{ref.UID, 1}, nil
	}
	return &scaled{ref.UID, *replicas}, nil
}

// other asks the server for the scale of an object of any kind.
func (o owners) other(ctx context.Context, namespace string, kind schema.GroupVersionKind, ref *metav1.OwnerReference) (*scaled, error) {
	mapping, err := o.kinds.RESTMappingWithContext(ctx, kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) && o.kinds.Renew(ctx) {
		mapping, err = o.kinds.RESTMappingWithContext(ctx, kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	found, err := o.scales.Scales(namespace).Get(ctx, mapping.Resource.GroupResource(), ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, o.scalable(mapping.Resource)
	case err != nil:
		return nil, err
	case found.UID != ref.UID:
		return nil, nil
	}
	return &scaled{found.UID, found.Spec.Replicas}, nil
}

// scalable answers an error if the resource has no scales at all.
func (o owners) scalable(resource schema.GroupVersionResource) error {
	list, err := o.discovery.ServerResourcesForGroupVersion(resource.GroupVersion().String())
	if err != nil {
		return err
	}
	for _, r := range list.APIResources {
		if r.Name == resource.Resource+"/scale" && r.Kind == "Scale" {
			return nil
		}
	}
	return fmt.Errorf("%s does not implement the scale subresource", resource.GroupResource())
}
