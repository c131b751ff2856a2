package disruption

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// owners knows how many pods the controllers of pods want.
type owners struct {
	sets         appslisters.ReplicaSetLister
	deployments  appslisters.DeploymentLister
	statefulSets appslisters.StatefulSetLister
	controllers  corelisters.ReplicationControllerLister
}

func newOwners(factory informers.SharedInformerFactory) owners {
	apps := factory.Apps().V1()
	return owners{
		apps.ReplicaSets().Lister(), apps.Deployments().Lister(), apps.StatefulSets().Lister(),
		factory.Core().V1().ReplicationControllers().Lister(),
	}
}

// scale sums what the controllers of the pods want, each counted once. It also names the pods that have none.
func (o owners) scale(pods []*corev1.Pod) (total int32, unmanaged []string, err error) {
	counted := map[types.UID]bool{}
	for _, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			unmanaged = append(unmanaged, p.Name)
			continue
		}
		uid, n, err := o.wanted(p.Namespace, ref)
		if err != nil {
			return 0, nil, fmt.Errorf("finding the scale of pod %s: %w", p.Name, err)
		}
		if !counted[uid] {
			counted[uid] = true
			total += n
		}
	}
	return total, unmanaged, nil
}

// wanted answers the controller at the top and its number of replicas; an owner that is gone wants none.
func (o owners) wanted(namespace string, ref *metav1.OwnerReference) (types.UID, int32, error) {
	var replicas *int32
	var object metav1.Object
	var err error
	switch ref.Kind {
	case "ReplicaSet":
		set, e := o.sets.ReplicaSets(namespace).Get(ref.Name)
		if e == nil {
			if up := metav1.GetControllerOfNoCopy(set); up != nil && up.Kind == "Deployment" {
				return o.wanted(namespace, up)
			}
			replicas, object = set.Spec.Replicas, set
		}
		err = e
	case "Deployment":
		d, e := o.deployments.Deployments(namespace).Get(ref.Name)
		if e == nil {
			replicas, object = d.Spec.Replicas, d
		}
		err = e
	case "StatefulSet":
		s, e := o.statefulSets.StatefulSets(namespace).Get(ref.Name)
		if e == nil {
			replicas, object = s.Spec.Replicas, s
		}
		err = e
	case "ReplicationController":
		c, e := o.controllers.ReplicationControllers(namespace).Get(ref.Name)
		if e == nil {
			replicas, object = c.Spec.Replicas, c
		}
		err = e
	default:
		return "", 0, fmt.Errorf("%s does not implement the scale subresource", ref.Kind)
	}
	if apierrors.IsNotFound(err) || (err == nil && object.GetUID() != ref.UID) {
		return ref.UID, 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	if replicas == nil {
		return ref.UID, 1, nil
	}
	return ref.UID, *replicas, nil
}
