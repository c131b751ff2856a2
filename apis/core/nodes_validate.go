package core

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateNode(ctx context.Context, n, old *corev1.Node) (errs field.ErrorList) {
	if old != nil {
		return validateNodeUpdate(ctx, n, old)
	}
	errs = append(errs, validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	errs = append(errs, validateNodeStatus(&n.Status)...)
	if s := n.Status.NodeInfo.Swap; s != nil && s.Capacity != nil {
		errs = append(errs, validate.Positive(*s.Capacity, field.NewPath("metadata", "nodeSwapStatus", "capacity"))...)
	}
	return append(errs, validatePodCIDRs(n.Spec.PodCIDRs, nil)...)
}

// validateNodeStatus checks what a status must never say.
func validateNodeStatus(s *corev1.NodeStatus) (errs field.ErrorList) {
	status := field.NewPath("status")
	for _, k := range slices.Sorted(maps.Keys(s.Capacity)) {
		errs = append(errs, podspec.ValidateQuantity(k, s.Capacity[k], status.Child("capacity", string(k)))...)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Allocatable)) {
		errs = append(errs, podspec.ValidateQuantity(k, s.Allocatable[k], status.Child("allocatable", string(k)))...)
	}
	return append(errs, validateDeclaredFeatures(s.DeclaredFeatures, status.Child("declaredFeatures"))...)
}

var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*$`)

// validateDeclaredFeatures checks the names of the features that a node says it
// has, which are sorted (KEP-5328).
func validateDeclaredFeatures(list []string, at *field.Path) (errs field.ErrorList) {
	for i, f := range list {
		switch {
		case len(f) > validation.DNS1123SubdomainMaxLength:
			errs = append(errs, field.Invalid(at.Index(i), f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, validation.DNS1123SubdomainMaxLength)))
		case !featureName.MatchString(f):
			errs = append(errs, field.Invalid(at.Index(i), f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f)))
		}
		if i+1 == len(list) {
			break
		}
		switch next := list[i+1]; {
		case f == next:
			errs = append(errs, field.Duplicate(at.Index(i+1), next))
		case f > next:
			errs = append(errs, field.Invalid(at.Index(i+1), next, "list must be sorted alphabetically"))
		}
	}
	return errs
}

func validatePodCIDRs(cidrs, old []string) (errs field.ErrorList) {
	path := field.NewPath("spec", "podCIDRs")
	for i, c := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), c, true, old)...)
	}
	if len(cidrs) > 1 {
		dual, err := utilnet.IsDualStackCIDRStrings(cidrs)
		if err != nil {
			errs = append(errs, field.InternalError(path, err))
		}
		if !dual || len(cidrs) > 2 {
			errs = append(errs, field.Invalid(path, cidrs, "may specify no more than one CIDR for each IP family"))
		}
	}
	return errs
}

func validateNodeUpdate(_ context.Context, n, old *corev1.Node) (errs field.ErrorList) {
	errs = append(errs, validateNodeStatus(&n.Status)...)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(field.NewPath("status", "addresses").Index(i), validate.GoNames{Value: a}))
		}
		seen[a] = true
	}
	if len(old.Spec.PodCIDRs) == 0 {
		errs = append(errs, validatePodCIDRs(n.Spec.PodCIDRs, nil)...)
	} else if !equality.Semantic.DeepEqual(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, validatePodCIDRs(n.Spec.PodCIDRs, old.Spec.PodCIDRs)...)
		errs = append(errs, field.Forbidden(field.NewPath("spec", "podCIDRs"), `node updates may not change podCIDR except from "" to valid`))
	}
	if !equality.Semantic.DeepEqual(n.Spec.Taints, old.Spec.Taints) {
		errs = append(errs, validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	}
	if was, now := old.Spec.ProviderID, n.Spec.ProviderID; was != "" && was != now {
		text := "field cannot be modified once set"
		if now == "" {
			text = "field cannot be cleared once set"
		}
		errs = append(errs, field.Invalid(field.NewPath("spec", "providerID"), nil, text))
	}
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "externalID"), "may not be updated"))
	}
	return errs
}

// taintValue prints a taint the way the API does in errors.
type taintValue struct {
	Key, Value string
	Effect     corev1.TaintEffect
	TimeAdded  *metav1.Time
}

func validateTaints(taints []corev1.Taint, path *field.Path) (errs field.ErrorList) {
	type id struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[id]bool{}
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, validate.QualifiedName(t.Key, at.Child("key"))...)
		errs = append(errs, validate.All(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, validate.RequiredEnum(t.Effect, at.Child("effect"), corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		if k := (id{t.Key, t.Effect}); seen[k] {
			dup := field.Duplicate(at, taintValue{t.Key, t.Value, t.Effect, t.TimeAdded})
			dup.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, dup)
		} else {
			seen[k] = true
		}
	}
	return errs
}
