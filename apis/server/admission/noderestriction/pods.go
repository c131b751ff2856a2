package noderestriction

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
)

func (r request) pods(ctx context.Context) error {
	switch r.GetSubresource() {
	case "":
		switch r.GetOperation() {
		case admission.Create:
			return r.createPod()
		case admission.Delete:
			return r.ownPod(ctx, r.GetName(), "delete pods")
		}
		return r.forbid("unexpected operation %q, node %q can only create and delete mirror pods", r.GetOperation(), r.node)
	case "status":
		return r.podStatus()
	case "eviction":
		return r.evict(ctx)
	}
	return r.forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.GetSubresource())
}

func (r request) ownPod(ctx context.Context, name, what string) error {
	pod, err := r.pod(ctx, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != r.node {
		return r.forbid("node %q can only %s with spec.nodeName set to itself", r.node, what)
	}
	return nil
}

// createPod allows mirrors of static pods, which reference nothing.
func (r request) createPod() error {
	pod, ok := r.GetObject().(*corev1.Pod)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return r.forbid("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, r.node)
	}
	if pod.Spec.NodeName != r.node {
		return r.forbid("node %q can only create pods with spec.nodeName set to itself", r.node)
	}
	if err := r.owner(pod); err != nil {
		return err
	}
	return r.referencesNothing(pod)
}

// owner wants the node itself as the one owner.
func (r request) owner(pod *corev1.Pod) error {
	if len(pod.OwnerReferences) == 0 {
		return r.forbid("node %q can only create pods with an owner reference set to itself", r.node)
	}
	if len(pod.OwnerReferences) > 1 {
		return r.forbid("node %q can only create pods with a single owner reference set to itself", r.node)
	}
	o := pod.OwnerReferences[0]
	switch {
	case o.APIVersion != "v1" || o.Kind != "Node" || o.Name != r.node:
		return r.forbid("node %q can only create pods with an owner reference set to itself", r.node)
	case o.Controller == nil || !*o.Controller:
		return r.forbid("node %q can only create pods with a controller owner reference set to itself", r.node)
	case o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion:
		return r.forbid("node %q must not set blockOwnerDeletion on an owner reference", r.node)
	}
	return nil
}

func (r request) referencesNothing(pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return r.forbid("node %q can not create pods that reference a service account", r.node)
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return r.forbid("node %q can not create pods that reference resourceclaims", r.node)
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.Secret != nil:
			return r.forbid("node %q can not create pods that reference secrets", r.node)
		case v.ConfigMap != nil:
			return r.forbid("node %q can not create pods that reference configmaps", r.node)
		case v.PersistentVolumeClaim != nil, v.Ephemeral != nil:
			return r.forbid("node %q can not create pods that reference persistentvolumeclaims", r.node)
		case v.Projected != nil:
			return r.forbid("node %q can not create pods that use projected volumes", r.node)
		}
	}
	return nil
}

func (r request) podStatus() error {
	if r.GetOperation() != admission.Update {
		return r.forbid("unexpected operation %q", r.GetOperation())
	}
	old, ok := r.GetOldObject().(*corev1.Pod)
	if !ok {
		return r.forbid("unexpected type %T", r.GetOldObject())
	}
	if old.Spec.NodeName != r.node {
		return r.forbid("node %q can only update pod status for pods with spec.nodeName set to itself", r.node)
	}
	pod, ok := r.GetObject().(*corev1.Pod)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	if !equality.Semantic.DeepEqual(pod.Labels, old.Labels) {
		return r.forbid("node %q cannot update labels through pod status", r.node)
	}
	return nil
}

func (r request) evict(ctx context.Context) error {
	if r.GetOperation() != admission.Create {
		return r.forbid("unexpected operation %s", r.GetOperation())
	}
	eviction, ok := r.GetObject().(*policyv1.Eviction)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	name := r.GetName()
	if name == "" {
		name = eviction.Name
	}
	if name == "" {
		return r.forbid("could not determine pod from request data")
	}
	return r.ownPod(ctx, name, "evict pods")
}
