package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	claimmetrics "k8s.io/dynamic-resource-allocation/resourceclaim/metrics"
	"k8s.io/klog/v2"

	"skiff/scheduler/framework"
)

// informerDelay is how long a claim just created is waited for to come back from the API.
const informerDelay = 2 * time.Minute

// Reserve keeps the devices found on the node from other pods. That the pod uses the claims is written in PreBind.
func (p *DynamicResources) Reserve(_ context.Context, c *framework.Cycle, node string) *framework.Status {
	state := p.state(c)
	if state == nil || state.allocator == nil {
		return nil
	}
	var indexes []int
	for i := range state.claims {
		if state.claims[i].Status.Allocation == nil {
			indexes = append(indexes, i)
		}
	}
	on, ok := state.nodes[node]
	if !ok || len(on.found) == 0 {
		if len(indexes) == 1 && state.isSpecial(indexes[0]) {
			return nil // The node's device plugins have all that the pod asks for.
		}
		return framework.AsStatus(errors.New("claim allocation not found for node"))
	}
	if len(on.found) != len(indexes) {
		return framework.AsStatus(fmt.Errorf("internal error, have %d allocations, want %d claims", len(on.found), len(indexes)))
	}
	for n, i := range indexes {
		claim, uid := state.claims[i].ResourceClaim, state.claims[i].UID
		if state.isSpecial(i) {
			claim = on.special
		}
		state.claims[i].decided = &on.found[n]
		allocated := claim.DeepCopy()
		if !slices.Contains(allocated.Finalizers, resourcev1.Finalizer) {
			allocated.Finalizers = append(allocated.Finalizers, resourcev1.Finalizer)
		}
		allocated.Status.Allocation = &on.found[n]
		p.devices.claims.reserve(uid, allocated)
	}
	return nil
}

// Unreserve gives the devices back, takes the pod off the claims' users, and deletes the special claim.
func (p *DynamicResources) Unreserve(ctx context.Context, c *framework.Cycle, _ string) {
	state := p.state(c)
	if state == nil {
		return
	}
	pod, log := c.Pod.Pod, klog.FromContext(ctx)
	for i := range state.claims {
		claim := state.claims[i].ResourceClaim
		if state.isSpecial(i) {
			p.unreserveSpecial(ctx, state)
			continue
		}
		if p.devices.claims.release(claim.UID) {
			p.devices.claims.restore(claim)
		}
		if claim.Status.Allocation == nil || !resourceclaim.IsReservedForPod(pod, claim, false) {
			continue
		}
		// A patch takes one user off whatever version the claim has by now.
		patch := fmt.Sprintf(`{"metadata": {"uid": %q}, "status": { "reservedFor": [ {"$patch": "delete", "uid": %q} ] }}`, claim.UID, pod.UID)
		_, err := p.client.ResourceV1().ResourceClaims(claim.Namespace).
			Patch(ctx, claim.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		if err != nil {
			log.Error(err, "taking a pod off the users of its resource claim, the next attempt does it again", "claim", klog.KObj(claim))
		}
	}
}

func (p *DynamicResources) unreserveSpecial(ctx context.Context, state *podDevices) {
	special := state.specialClaim()
	if p.devices.claims.release(state.specialUID) {
		p.devices.claims.restore(special.ResourceClaim)
	}
	if special.Name == inMemoryName {
		return
	}
	if err := p.deleteClaim(ctx, special.DeepCopy()); err != nil {
		klog.FromContext(ctx).Error(err, "deleting the claim for a pod's extended resources", "claim", klog.KObj(special))
	}
}

// PreBindPreFlight implements framework.PreBindPreFlight.
func (p *DynamicResources) PreBindPreFlight(_ context.Context, c *framework.Cycle, _ string) *framework.Status {
	if state := p.state(c); state == nil || len(state.claims) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// PreBind writes the allocations and that the pod uses the claims, then waits for devices that have to be made ready for
// the node first (KEP-5007).
func (p *DynamicResources) PreBind(ctx context.Context, c *framework.Cycle, node string) *framework.Status {
	state := p.state(c)
	if state == nil {
		return nil
	}
	for i := range state.claims {
		if resourceclaim.IsReservedForPod(c.Pod.Pod, state.claims[i].ResourceClaim, false) {
			continue
		}
		if err := p.bindClaim(ctx, c.Pod.Pod, state, i, node); err != nil {
			return framework.AsStatus(err)
		}
	}
	return p.awaitConditions(ctx, c.Pod.Pod, state, node)
}

// bindClaim writes one claim, and keeps the version written for Unreserve.
func (p *DynamicResources) bindClaim(ctx context.Context, pod *corev1.Pod, state *podDevices, i int, node string) error {
	claim := &state.claims[i]
	special := state.isSpecial(i)
	if special && claim.decided == nil && claim.Spec.Devices.Requests == nil {
		return nil // The node's device plugins have all that the pod asks for.
	}
	uid := claim.UID
	if special {
		uid = state.specialUID
		if claim.Name == inMemoryName {
			created, err := p.createSpecial(ctx, state.nodes[node].special)
			if err != nil {
				return err
			}
			claim.ResourceClaim = created
		}
	}
	written, err := p.write(ctx, pod, claim)
	if err == nil {
		claim.ResourceClaim = written
	}
	if special {
		// Also when writing failed: the ledger has to know the claim before it can be dealt with further.
		p.settleSpecial(ctx, uid, claim.ResourceClaim)
	} else if err == nil {
		p.devices.claims.settle(uid, written)
	}
	if err == nil && special {
		err = p.tellPod(ctx, pod, written.Name, state.nodes[node].mappings)
	}
	return err
}

// createSpecial creates the claim for extended resources.
func (p *DynamicResources) createSpecial(ctx context.Context, special *resourcev1.ResourceClaim) (*resourcev1.ResourceClaim, error) {
	if special == nil {
		return nil, errors.New("extended resource claim not found for node")
	}
	claim := special.DeepCopy()
	claim.Name, claim.UID, claim.Status.Allocation = "", "", nil
	created, err := p.client.ResourceV1().ResourceClaims(claim.Namespace).Create(ctx, claim, metav1.CreateOptions{})
	if err != nil {
		claimmetrics.ResourceClaimCreate.WithLabelValues("failure", "false", "", "Pod").Inc()
		return nil, fmt.Errorf("create claim for extended resources %v: %w", klog.KObj(special), err)
	}
	claimmetrics.ResourceClaimCreate.WithLabelValues("success", "false", "", "Pod").Inc()
	return created, nil
}

// settleSpecial waits until the informer shows the claim that was created. When that takes too long the ledger learns of
// the claim later; until then its devices stay pending.
func (p *DynamicResources) settleSpecial(ctx context.Context, uid types.UID, claim *resourcev1.ResourceClaim) {
	ctx, cancel := context.WithTimeout(ctx, informerDelay)
	defer cancel()
	for {
		changed := p.devices.claims.changed.wait()
		if p.devices.claims.settle(uid, claim) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			klog.FromContext(ctx).Info("a claim for extended resources doesn't come back from the API", "claim", klog.KObj(claim))
			return
		}
	}
}

// write adds allocation and user to the claim in the API. On a conflict it starts over from the API's version.
func (p *DynamicResources) write(ctx context.Context, pod *corev1.Pod, from *podClaim) (*resourcev1.ResourceClaim, error) {
	claims := p.client.ResourceV1().ResourceClaims(from.Namespace)
	claim, fresh := from.DeepCopy(), true
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if !fresh {
			latest, err := claims.Get(ctx, from.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("get updated claim %s after conflict: %w", klog.KObj(from), err)
			}
			claim = latest
		}
		fresh = false
		if claim.DeletionTimestamp != nil {
			return fmt.Errorf("claim %s got deleted in the meantime", klog.KObj(from))
		}
		if from.decided != nil {
			if claim.Status.Allocation != nil {
				return fmt.Errorf("claim %s got allocated elsewhere in the meantime", klog.KObj(from))
			}
			// The finalizer is no part of the status, so it takes a write of its own.
			if !slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
				claim.Finalizers = append(claim.Finalizers, resourcev1.Finalizer)
				updated, err := claims.Update(ctx, claim, metav1.UpdateOptions{})
				if err != nil {
					return fmt.Errorf("add finalizer to claim %s: %w", klog.KObj(from), err)
				}
				claim = updated
			}
			claim.Status.Allocation = from.decided.DeepCopy()
		}
		if claim.Status.Allocation == nil {
			return fmt.Errorf("claim %s got deallocated elsewhere in the meantime", klog.KObj(from))
		}
		if claim.Status.Allocation.AllocationTimestamp == nil {
			claim.Status.Allocation.AllocationTimestamp = new(metav1.Now())
		}
		claim.Status.ReservedFor = append(claim.Status.ReservedFor,
			resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		updated, err := claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		switch {
		case err != nil && from.decided != nil:
			return fmt.Errorf("add allocation and reservation to claim %s: %w", klog.KObj(from), err)
		case err != nil:
			return fmt.Errorf("add reservation to claim %s: %w", klog.KObj(from), err)
		}
		claim = updated
		return nil
	})
	return claim, err
}

// tellPod writes into the pod's status which claim and which of its requests serve the extended resources.
func (p *DynamicResources) tellPod(ctx context.Context, pod *corev1.Pod, claim string, mappings []corev1.ContainerExtendedResourceRequest) error {
	if len(mappings) == 0 {
		return fmt.Errorf("nil or empty request mappings, no update of pod %s/%s ExtendedResourceClaimStatus", pod.Namespace, pod.Name)
	}
	_, err := framework.PatchStatus(ctx, p.client, pod, func(s *corev1.PodStatus) {
		s.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{RequestMappings: mappings, ResourceClaimName: claim}
	})
	if err != nil {
		return fmt.Errorf("update pod %s/%s ExtendedResourceClaimStatus: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
