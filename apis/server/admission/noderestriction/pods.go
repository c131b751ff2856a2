package noderestriction

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"

	nodeauthz "skiff/apis/server/authz/node"
)

func (r request) pods(ctx context.Context) error {
	switch r.GetSubresource() {
	case "":
		switch r.GetOperation() {
		case admission.Create:
			return r.createPod(ctx)
		case admission.Delete:
			return r.ownPod(ctx, r.GetName(), `node %q can only delete pods with spec.nodeName set to itself`)
		}
		return r.forbid("unexpected operation %q, node %q can only create and delete mirror pods", r.GetOperation(), r.node)
	case "status":
		return r.podStatus()
	case "eviction":
		return r.evict(ctx)
	}
	return r.forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.GetSubresource())
}

func (r request) ownPod(ctx context.Context, name, why string) error {
	pod, err := r.pod(ctx, name)
	if err != nil {
		return r.lookup(err)
	}
	if pod.Spec.NodeName != r.node {
		return r.forbid(why, r.node)
	}
	return nil
}

// createPod allows mirrors of static pods, which reference nothing.
func (r request) createPod(ctx context.Context) error {
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
	if err := r.owner(ctx, pod); err != nil {
		return err
	}
	what, err := referenced(pod)
	if err != nil {
		return r.forbid("error checking mirror pod for API references: %w", err)
	}
	if what != "" {
		return r.forbid("node %q can not create pods that reference %s", r.node, what)
	}
	return nil
}

// owner wants the node itself as the one owner.
func (r request) owner(ctx context.Context, pod *corev1.Pod) error {
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
	node, err := r.nodeObject(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return r.forbid("error looking up node %s to verify uid: %w", r.node, err)
	case node.UID != o.UID:
		return r.forbid("node %s UID mismatch: expected %s got %s", r.node, o.UID, node.UID)
	}
	return nil
}

// referenced says which objects of the API the pod needs, or "" for none.
func referenced(pod *corev1.Pod) (string, error) {
	secrets, configMaps := nodeauthz.References(pod)
	switch {
	case pod.Spec.ServiceAccountName != "":
		return "serviceaccounts", nil
	case secrets:
		return "secrets", nil
	case configMaps:
		return "configmaps", nil
	case len(pod.Spec.ResourceClaims) > 0:
		return "resourceclaims", nil
	}
	for i := range pod.Spec.Volumes {
		if what, err := referencedBy(&pod.Spec.Volumes[i]); what != "" || err != nil {
			return what, err
		}
	}
	return "", nil
}

func referencedBy(v *corev1.Volume) (string, error) {
	switch s := &v.VolumeSource; {
	case s.Projected != nil:
		for i := range s.Projected.Sources {
			if what, err := projected(&s.Projected.Sources[i], v.Name); what != "" || err != nil {
				return what, err
			}
		}
		return "", nil
	case s.CSI != nil:
		return "csidrivers (via CSI volumes)", nil
	case s.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)", nil
	case s.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims", nil
	case s.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)", nil
	case s.AzureFile != nil:
		return "secrets (via azureFile volumes)", nil
	case equality.Semantic.DeepEqual(*s, corev1.VolumeSource{}):
		return "", fmt.Errorf("unknown volume type for volume  %q", v.Name)
	}
	return "", nil
}

func projected(s *corev1.VolumeProjection, volume string) (string, error) {
	switch {
	case s.ServiceAccountToken != nil:
		return "serviceaccounts (via projected volumes)", nil
	case s.ClusterTrustBundle != nil:
		return "clustertrustbundles", nil
	case s.PodCertificate != nil:
		return "podcertificates", nil
	case s.DownwardAPI != nil:
		return "", nil
	}
	return "", fmt.Errorf("unknown source for projected volume %q", volume)
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
	same := equality.Semantic.DeepEqual
	switch {
	case !same(pod.Labels, old.Labels):
		return r.forbid("node %q cannot update labels through pod status", r.node)
	case !same(pod.Status.ResourceClaimStatuses, old.Status.ResourceClaimStatuses):
		return r.forbid("node %q cannot update resource claim statues", r.node)
	case !same(pod.Status.ExtendedResourceClaimStatus, old.Status.ExtendedResourceClaimStatus):
		return r.forbid("node %q cannot update extended resource claim status", r.node)
	case !same(pod.Status.NodeAllocatableResourceClaimStatuses, old.Status.NodeAllocatableResourceClaimStatuses):
		return r.forbid("node %q cannot update node allocatable resource claim statuses", r.node)
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
	return r.ownPod(ctx, name, "node %s can only evict pods with spec.nodeName set to itself")
}
