package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

const (
	maxRules       = 20
	maxConditions  = 20
	maxExitCodes   = 255
	maxIndexesText = 64 * 1024
)

// validValues says what a required enumeration may be.
func validValues[S ~string](values []S) string { return fmt.Sprintf("valid values: %q", values) }

func validateFailurePolicy(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	rules := at.Child("rules")
	if len(s.PodFailurePolicy.Rules) > maxRules {
		errs = append(errs, field.TooMany(rules, len(s.PodFailurePolicy.Rules), maxRules))
	}
	containers := map[string]bool{}
	for _, c := range slices.Concat(s.Template.Spec.Containers, s.Template.Spec.InitContainers) {
		containers[c.Name] = true
	}
	for i := range s.PodFailurePolicy.Rules {
		errs = append(errs, validateFailureRule(&s.PodFailurePolicy.Rules[i], s.BackoffLimitPerIndex != nil, containers, rules.Index(i))...)
	}
	return errs
}

func validateFailureRule(r *batchv1.PodFailurePolicyRule, perIndex bool, containers map[string]bool, at *field.Path) (errs field.ErrorList) {
	actions := []batchv1.PodFailurePolicyAction{batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore}
	switch {
	case r.Action == "":
		errs = append(errs, field.Required(at.Child("action"), validValues(actions)))
	case r.Action == batchv1.PodFailurePolicyActionFailIndex && !perIndex:
		errs = append(errs, field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	default:
		errs = append(errs, validate.Enum(r.Action, at.Child("action"), actions...)...)
	}
	if r.OnExitCodes != nil {
		errs = append(errs, validateExitCodes(r.OnExitCodes, containers, at.Child("onExitCodes"))...)
	}
	errs = append(errs, validateConditions(r.OnPodConditions, at.Child("onPodConditions"))...)
	switch {
	case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

func validateConditions(patterns []batchv1.PodFailurePolicyOnPodConditionsPattern, at *field.Path) (errs field.ErrorList) {
	if len(patterns) > maxConditions {
		errs = append(errs, field.TooMany(at, len(patterns), maxConditions))
	}
	statuses := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
	for i, p := range patterns {
		errs = append(errs, validate.QualifiedName(string(p.Type), at.Index(i).Child("type"))...)
		if p.Status == "" {
			errs = append(errs, field.Required(at.Index(i).Child("status"), validValues(statuses)))
			continue
		}
		errs = append(errs, validate.Enum(p.Status, at.Index(i).Child("status"), statuses...)...)
	}
	return errs
}

func validateExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, containers map[string]bool, at *field.Path) (errs field.ErrorList) {
	operators := []batchv1.PodFailurePolicyOnExitCodesOperator{batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn}
	if r.Operator == "" {
		errs = append(errs, field.Required(at.Child("operator"), validValues(operators)))
	} else {
		errs = append(errs, validate.Enum(r.Operator, at.Child("operator"), operators...)...)
	}
	if r.ContainerName != nil && !containers[*r.ContainerName] {
		errs = append(errs, field.Invalid(at.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template"))
	}
	values := at.Child("values")
	switch {
	case len(r.Values) == 0:
		errs = append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	case len(r.Values) > maxExitCodes:
		errs = append(errs, field.TooMany(values, len(r.Values), maxExitCodes))
	}
	seen := map[int32]bool{}
	for i, v := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			errs = append(errs, field.Invalid(values.Index(i), v, "must not be 0 for the In operator"))
		}
		if seen[v] {
			errs = append(errs, field.Duplicate(values.Index(i), v))
		}
		seen[v] = true
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, at *field.Path) (errs field.ErrorList) {
	rules := at.Child("rules")
	if len(s.SuccessPolicy.Rules) == 0 {
		errs = append(errs, field.Required(rules, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(s.SuccessPolicy.Rules) > maxRules {
		errs = append(errs, field.TooMany(rules, len(s.SuccessPolicy.Rules), maxRules))
	}
	completions := int32(0)
	if s.Completions != nil {
		completions = *s.Completions
	}
	for i := range s.SuccessPolicy.Rules {
		errs = append(errs, validateSuccessRule(&s.SuccessPolicy.Rules[i], completions, rules.Index(i))...)
	}
	return errs
}

func validateSuccessRule(r *batchv1.SuccessPolicyRule, completions int32, at *field.Path) (errs field.ErrorList) {
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	total := int32(0)
	if r.SucceededIndexes != nil {
		indexes := at.Child("succeededIndexes")
		if len(*r.SucceededIndexes) > maxIndexesText {
			errs = append(errs, field.TooLong(indexes, "", maxIndexesText))
		}
		var err error
		if total, err = countIndexes(*r.SucceededIndexes, completions); err != nil {
			errs = append(errs, field.Invalid(indexes, *r.SucceededIndexes, "error parsing succeededIndexes: "+err.Error()))
		}
	}
	if r.SucceededCount == nil {
		return errs
	}
	n, here := *r.SucceededCount, at.Child("succeededCount")
	errs = append(errs, validate.NonNegative(n, here)...)
	if n > completions {
		errs = append(errs, field.Invalid(here, n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
	}
	if r.SucceededIndexes != nil && n > total {
		errs = append(errs, field.Invalid(here, n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total)))
	}
	return errs
}

// countIndexes answers how many indexes a text such as "0,2-4" names.
func countIndexes(text string, completions int32) (total int32, err error) {
	if text == "" {
		return 0, nil
	}
	last := int32(-1)
	for _, part := range strings.Split(text, ",") {
		v, err := parseInterval(part, completions)
		if err != nil {
			return 0, err
		}
		if v.first <= last {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, v.first)
		}
		total += v.last - v.first + 1
		last = v.last
	}
	return total, nil
}

// interval is a range of indexes, both ends included.
type interval struct{ first, last int32 }

// parseInterval reads "3" or "3-5", below completions.
func parseInterval(text string, completions int32) (out interval, err error) {
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return out, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		switch {
		case err != nil:
			return out, fmt.Errorf("cannot convert string to integer for index: %q", part)
		case n >= int(completions):
			return out, fmt.Errorf("too large index: %q", part)
		case i == 1 && int(out.first) >= n:
			return out, fmt.Errorf("non-increasing order, previous: %d, current: %d", out.first, n)
		}
		if out.last = int32(n); i == 0 { //nolint:gosec // below completions
			out.first = out.last
		}
	}
	return out, nil
}

// indexIntervals are those of a list that can be read.
func indexIntervals(text string, completions int32) (out []interval) {
	for _, part := range strings.Split(text, ",") {
		if v, err := parseInterval(part, completions); err == nil {
			out = append(out, v)
		}
	}
	return out
}

// overlap is the first index that is in both of two ordered lists.
func overlap(a, b []interval) (int32, bool) {
	for len(a) > 0 && len(b) > 0 {
		switch x, y := a[0], b[0]; {
		case x.first <= y.last && y.first <= x.last:
			return max(x.first, y.first), true
		case x.first <= y.first:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return 0, false
}
