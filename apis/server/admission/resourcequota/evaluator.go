package resourcequota

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"

	meter "skiff/internal/quota"
)

// evaluator is a meter as k8s.io/apiserver wants it.
type evaluator struct {
	meter.Meter
	// handles says whether a request may change what its object costs.
	handles func(admission.Attributes) bool
	// constraints says what an object lacks when the names are limited; nil if nothing is ever required.
	constraints func([]corev1.ResourceName, runtime.Object) error
}

var _ quota.Evaluator = evaluator{}

// Constraints implements quota.Evaluator.
func (e evaluator) Constraints(required []corev1.ResourceName, o runtime.Object) error {
	if e.constraints == nil {
		return nil
	}
	return e.constraints(required, o)
}

// GroupResource implements quota.Evaluator.
func (e evaluator) GroupResource() schema.GroupResource { return e.Resource }

// Handles implements quota.Evaluator.
func (e evaluator) Handles(a admission.Attributes) bool { return e.handles(a) }

// Matches implements quota.Evaluator.
func (e evaluator) Matches(q *corev1.ResourceQuota, o runtime.Object) (bool, error) {
	return generic.Matches(q, o, e.MatchingResources, e.Holds)
}

// MatchingScopes implements quota.Evaluator.
func (e evaluator) MatchingScopes(o runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	matched := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range scopes {
		ok, err := e.Holds(s, o)
		if err != nil {
			return []corev1.ScopedResourceSelectorRequirement{}, fmt.Errorf("error on matching scope %v: %w", s, err)
		}
		if ok {
			matched = append(matched, s)
		}
	}
	return matched, nil
}

// UncoveredQuotaScopes implements quota.Evaluator.
func (e evaluator) UncoveredQuotaScopes(limited, covered []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, l := range limited {
		if e.InScope != nil && !slices.ContainsFunc(covered, func(c corev1.ScopedResourceSelectorRequirement) bool { return c.ScopeName == l.ScopeName }) {
			out = append(out, l)
		}
	}
	return out, nil
}

// MatchingResources implements quota.Evaluator.
func (e evaluator) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	return e.Charged(names)
}

// Usage implements quota.Evaluator.
func (e evaluator) Usage(o runtime.Object) (corev1.ResourceList, error) { return e.Meter.Usage(o) }

// UsageStats implements quota.Evaluator; only the controller adds up.
func (e evaluator) UsageStats(quota.UsageStatsOptions) (quota.UsageStats, error) {
	return quota.UsageStats{}, errors.ErrUnsupported
}

// written handles creation and update.
func written(a admission.Attributes) bool {
	return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
}

// pods handles creation, resizing, and updates that move a pod into another scope.
func pods(a admission.Attributes) bool {
	switch a.GetSubresource() {
	case "resize":
		return a.GetOperation() == admission.Update
	case "":
		if a.GetOperation() != admission.Update {
			return a.GetOperation() == admission.Create
		}
		pod, ok := a.GetObject().(*corev1.Pod)
		old, had := a.GetOldObject().(*corev1.Pod)
		return ok && had && meter.Terminating(pod) != meter.Terminating(old)
	}
	return false
}

// claims handles creation, update, and a status that changes the allocated size or the attributes classes.
func claims(a admission.Attributes) bool {
	if a.GetSubresource() != "status" {
		return written(a)
	}
	claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	old, had := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	return ok && had && meter.ClaimChanged(old, claim)
}

// stated refuses pods whose containers don't state what is limited.
func stated(required []corev1.ResourceName, o runtime.Object) error {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("expected a pod, got %T", o)
	}
	return meter.Missing(pod, required)
}
