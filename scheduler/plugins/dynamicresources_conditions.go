package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/scheduler/framework"
)

// Why waiting for binding conditions ended without success.
var (
	ErrDeviceBindingTimeout = errors.New("device binding timeout")
	ErrDeviceBindingFailed  = errors.New("device binding failed")
)

// ready reports whether the binding conditions of all devices of an allocated claim are true. One of the conditions that
// mean failure is an error.
func ready(claim *resourcev1.ResourceClaim) (bool, error) {
	if claim.Status.Allocation == nil {
		return false, nil
	}
	for i := range claim.Status.Allocation.Devices.Results {
		result := &claim.Status.Allocation.Devices.Results[i]
		if len(result.BindingConditions) == 0 {
			continue
		}
		at := slices.IndexFunc(claim.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
			return d.Driver == result.Driver && d.Pool == result.Pool && d.Device == result.Device
		})
		if at < 0 {
			return false, nil
		}
		conditions := claim.Status.Devices[at].Conditions
		for _, failure := range result.BindingFailureConditions {
			if c := apimeta.FindStatusCondition(conditions, failure); c != nil && c.Status == metav1.ConditionTrue {
				return false, fmt.Errorf("%w: claim=%s, reason=%s, message=%q", ErrDeviceBindingFailed, claim.Name, c.Reason, c.Message)
			}
		}
		for _, condition := range result.BindingConditions {
			if !apimeta.IsStatusConditionTrue(conditions, condition) {
				return false, nil
			}
		}
	}
	return true, nil
}

// bindingConditions reports whether any device of the claim has to be made ready.
func bindingConditions(claim *resourcev1.ResourceClaim) bool {
	return claim.Status.Allocation != nil && slices.ContainsFunc(claim.Status.Allocation.Devices.Results,
		func(r resourcev1.DeviceRequestAllocationResult) bool { return len(r.BindingConditions) > 0 })
}

// untilTimeout answers how long the claim's devices may still take; ok is false when they may take forever.
func (p *DynamicResources) untilTimeout(claim *resourcev1.ResourceClaim) (left time.Duration, ok bool) {
	if !bindingConditions(claim) || claim.Status.Allocation.AllocationTimestamp == nil {
		return 0, false
	}
	return time.Until(claim.Status.Allocation.AllocationTimestamp.Add(p.bindingTimeout)), true
}

// bindingFailed reports whether the claim's devices will not get ready: one says so, or they took too long.
func (p *DynamicResources) bindingFailed(claim *resourcev1.ResourceClaim) bool {
	is, err := ready(claim)
	if is || err != nil {
		return err != nil
	}
	left, ok := p.untilTimeout(claim)
	return ok && left < 0
}

// awaitConditions waits until all devices are ready. An error leads to another attempt, whose PostFilter frees the claim.
func (p *DynamicResources) awaitConditions(ctx context.Context, pod *corev1.Pod, state *podDevices, node string) *framework.Status {
	if !slices.ContainsFunc(state.claims, func(c podClaim) bool { return bindingConditions(c.ResourceClaim) }) {
		return nil
	}
	p.recorder.Eventf(pod, nil, corev1.EventTypeNormal, "BindingConditionsPending", "Scheduling",
		"waiting for binding conditions for device on node %s", node)
	ctx, cancel := context.WithTimeout(ctx, p.bindingTimeout)
	defer cancel()
	for {
		changed := p.devices.claims.changed.wait()
		is, left, err := p.allReady(state)
		if is || err != nil {
			return framework.AsStatus(err)
		}
		timer := time.NewTimer(left + time.Millisecond)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		switch err := ctx.Err(); {
		case errors.Is(err, context.DeadlineExceeded):
			return framework.AsStatus(fmt.Errorf("%w: %w", ErrDeviceBindingTimeout, err))
		case err != nil:
			return framework.AsStatus(err)
		}
	}
}

// allReady looks at the newest versions of the claims, and keeps them for Unreserve. When one isn't ready it answers how
// long it may still take.
func (p *DynamicResources) allReady(state *podDevices) (bool, time.Duration, error) {
	for i := range state.claims {
		if state.claims[i].Name == inMemoryName {
			continue // It was never needed, and the API doesn't know it.
		}
		claim, err := p.devices.claims.get(state.claims[i].Namespace, state.claims[i].Name)
		if err != nil {
			return false, 0, err
		}
		state.claims[i].ResourceClaim = claim
		is, err := ready(claim)
		if is {
			continue
		}
		if err != nil {
			return false, 0, err
		}
		left, ok := p.untilTimeout(claim)
		if ok && left < 0 {
			return false, 0, fmt.Errorf("%w: claim=%s", ErrDeviceBindingTimeout, claim.Name)
		}
		return false, max(left, 0), nil
	}
	return true, 0, nil
}
