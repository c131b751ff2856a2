package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/dynamic-resource-allocation/structured"

	"skiff/scheduler/framework"
)

// optionalNodeOperations is what a node declares that can leave out parts of preparing a device.
const optionalNodeOperations = "DRAOptionalNodeOperations"

// Filter checks that the node reaches the allocated claims and has devices for the others.
func (p *DynamicResources) Filter(ctx context.Context, c *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	state := p.state(c)
	if state == nil || len(state.claims) == 0 {
		return nil
	}
	special, mappings, s := p.specialFor(state, c.Pod, node)
	if !s.IsSuccess() {
		return s
	}
	if special == nil && state.onlySpecial() {
		return nil
	}
	unavailable := p.unavailable(state, node.Node)
	var found []resourcev1.AllocationResult
	if state.allocator != nil {
		if found, s = p.search(ctx, state, node.Node, special); !s.IsSuccess() {
			return s
		}
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	if len(unavailable) > 0 {
		if state.unavailable == nil {
			state.unavailable = sets.New[int]()
		}
		state.unavailable.Insert(unavailable...)
		return p.unfit("resourceclaim not available on the node")
	}
	if state.allocator != nil {
		state.nodes[node.Name()] = nodeDevices{found: found, special: special, mappings: mappings}
	}
	return nil
}

// unavailable lists the allocated claims that the node doesn't reach or that can't be bound.
func (p *DynamicResources) unavailable(state *podDevices, node *corev1.Node) []int {
	var indexes []int
	for i := range state.claims {
		claim := &state.claims[i]
		switch {
		case claim.Status.Allocation == nil:
		case claim.reachable != nil && !claim.reachable.Match(node),
			skipsNodeOperations(claim.Status.Allocation) && !slices.Contains(node.Status.DeclaredFeatures, optionalNodeOperations),
			p.bindingFailed(claim.ResourceClaim):
			indexes = append(indexes, i)
		}
	}
	return indexes
}

func skipsNodeOperations(allocation *resourcev1.AllocationResult) bool {
	return slices.ContainsFunc(allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
		return len(r.SkipNodeOperations) > 0
	})
}

// search finds devices on the node for the claims that have none.
func (p *DynamicResources) search(ctx context.Context, state *podDevices, node *corev1.Node, special *resourcev1.ResourceClaim) ([]resourcev1.AllocationResult, *framework.Status) {
	var claims []*resourcev1.ResourceClaim
	for i := range state.claims {
		switch {
		case state.claims[i].Status.Allocation != nil:
		case state.isSpecial(i) && special != nil:
			claims = append(claims, special)
		default:
			claims = append(claims, state.claims[i].ResourceClaim)
		}
	}
	within := ctx
	if p.filterTimeout > 0 {
		limited, cancel := context.WithTimeout(ctx, p.filterTimeout)
		defer cancel()
		within = limited
	}
	found, err := state.allocator.Allocate(within, node, claims)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, framework.AsStatus(fmt.Errorf("node %s: timed out trying to allocate devices", node.Name))
	case errors.Is(err, structured.ErrFailedAllocationOnNode):
		return nil, p.unfit(err.Error())
	case ctx.Err() != nil:
		return nil, p.unfit(fmt.Sprintf("asked by caller to stop allocating devices: %v", context.Cause(ctx)))
	case err != nil:
		return nil, framework.AsStatus(err)
	case len(found) != len(claims):
		return nil, p.unfit("cannot allocate all claims")
	default:
		return found, nil
	}
}

// PreScore skips pods without claims: nothing distinguishes the nodes.
func (p *DynamicResources) PreScore(_ context.Context, c *framework.Cycle, _ []*framework.NodeInfo) *framework.Status {
	if state := p.state(c); state == nil || len(state.claims) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	return nil
}

// Score prefers nodes on which requests with alternatives get an early one (KEP-4816).
func (p *DynamicResources) Score(_ context.Context, c *framework.Cycle, node *framework.NodeInfo) (int64, *framework.Status) {
	state := p.state(c)
	state.mu.Lock()
	on, ok := state.nodes[node.Name()]
	state.mu.Unlock()
	if !ok {
		return 0, nil
	}
	var score int64
	next := 0
	for i := range state.claims {
		claim := &state.claims[i]
		allocation := claim.Status.Allocation
		if allocation == nil {
			if next >= len(on.found) {
				return 0, framework.AsStatus(fmt.Errorf("number of allocations %d is smaller than number of claims needing allocation", len(on.found)))
			}
			allocation = &on.found[next]
			next++
		}
		score += preference(claim.Spec.Devices.Requests, allocation)
	}
	return score, nil
}

// preference adds up, for each alternative taken, how many more could have followed it in the list.
func preference(requests []resourcev1.DeviceRequest, allocation *resourcev1.AllocationResult) int64 {
	taken := sets.New[string]()
	for i := range allocation.Devices.Results {
		taken.Insert(allocation.Devices.Results[i].Request)
	}
	var score int64
	for i := range requests {
		for j := range requests[i].FirstAvailable {
			if taken.Has(resourceclaim.CreateSubRequestRef(requests[i].Name, requests[i].FirstAvailable[j].Name)) {
				score += int64(resourcev1.FirstAvailableDeviceRequestMaxSize - j)
			}
		}
	}
	return score
}

// NormalizeScore scales to the best node.
func (*DynamicResources) NormalizeScore(_ context.Context, _ *framework.Cycle, scores []framework.NodeScore) *framework.Status {
	framework.NormalizeByMax(scores, false)
	return nil
}

// PostFilter frees one claim that kept the pod off some node and that nobody else uses, so that devices can be searched
// for anew; or deletes the special claim of an earlier attempt. Which claim is left to chance: there is no better rule.
func (p *DynamicResources) PostFilter(ctx context.Context, c *framework.Cycle, _ *framework.NodeStatuses) (*framework.PostFilterResult, *framework.Status) {
	state := p.state(c)
	if state == nil {
		return nil, framework.AsStatus(errNoState)
	}
	special, stale := state.specialClaim(), false
	if special != nil {
		stale = special.Name != inMemoryName
	}
	for i := range state.unavailable {
		claim := &state.claims[i]
		if state.isSpecial(i) {
			if stale {
				break
			}
			continue
		}
		users := claim.Status.ReservedFor
		if len(users) > 1 || (len(users) == 1 && users[0].UID != c.Pod.Pod.UID) {
			continue
		}
		freed := claim.DeepCopy()
		freed.Status.ReservedFor, freed.Status.Allocation, freed.Status.Devices = nil, nil, nil
		if _, err := p.client.ResourceV1().ResourceClaims(freed.Namespace).UpdateStatus(ctx, freed, metav1.UpdateOptions{}); err != nil {
			return nil, framework.AsStatus(err)
		}
		return nil, framework.NewStatus(framework.Unschedulable, "deallocation of ResourceClaim completed")
	}
	if stale {
		if err := p.deleteClaim(ctx, special.DeepCopy()); err != nil {
			return nil, framework.AsStatus(err)
		}
		return nil, framework.NewStatus(framework.Unschedulable, "deletion of ResourceClaim completed")
	}
	return nil, framework.NewStatus(framework.Unschedulable)
}
