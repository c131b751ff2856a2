package resourceapi

import (
	"fmt"
	"math"
	"strconv"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// mostOptions is the number of values that a policy may list.
const mostOptions = 10

// validateCapacity checks how a capacity may be shared out; shared says that
// the device may be at all.
func validateCapacity(c *resourcev1.DeviceCapacity, shared bool, at *field.Path) field.ErrorList {
	p, at := c.RequestPolicy, at.Child("requestPolicy")
	switch {
	case p == nil:
		return nil
	case !shared:
		return field.ErrorList{field.Forbidden(at, "allowMultipleAllocations must be true")}
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case len(p.ValidValues) > 0 && p.Default == nil:
		return field.ErrorList{field.Required(at.Child("default"), "required when validValues is defined")}
	case len(p.ValidValues) > 0:
		return validateValues(*p.Default, c.Value, p.ValidValues, at.Child("validValues"))
	case p.ValidRange != nil && p.Default == nil:
		return field.ErrorList{field.Required(at.Child("default"), "required when validRange is defined")}
	case p.ValidRange != nil:
		return validateRange(*p.Default, c.Value, p.ValidRange, at.Child("validRange"))
	}
	return nil
}

func validateValues(standard, most resource.Quantity, values []resource.Quantity, at *field.Path) (errs field.ErrorList) {
	for i := range len(values) - 1 {
		if values[i].Cmp(values[i+1]) > 0 {
			errs = append(errs, field.Invalid(at.Index(i+1), values[i+1].String(), "values must be sorted in ascending order"))
		}
	}
	found := false
	errs = append(errs, list[resource.Quantity]{
		most: mostOptions,
		check: func(q *resource.Quantity, at *field.Path) (errs field.ErrorList) {
			if q.Cmp(most) > 0 {
				errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("option is larger than capacity value: %s", most.String())))
			}
			found = found || q.Cmp(standard) == 0
			return errs
		},
		key: func(q *resource.Quantity) string { return strconv.FormatInt(q.Value(), 10) },
	}.validate(values, at)...)
	if !found {
		errs = append(errs, field.Invalid(at, standard.String(), "default value is not valid according to the requestPolicy"))
	}
	return errs
}

func validateRange(standard, most resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, at *field.Path) (errs field.ErrorList) {
	if r.Min == nil {
		return field.ErrorList{field.Required(at.Child("min"), "required when validRange is defined")}
	}
	greater := func(a, b resource.Quantity, child string, shown resource.Quantity, text string, other resource.Quantity) {
		if a.Cmp(b) > 0 {
			errs = append(errs, field.Invalid(at.Child(child), shown.String(), fmt.Sprintf(text, other.String())))
		}
	}
	greater(*r.Min, most, "min", *r.Min, "min is larger than capacity value: %s", most)
	greater(*r.Min, standard, "default", standard, "default is less than min: %s", *r.Min)
	if r.Max != nil {
		greater(*r.Min, *r.Max, "max", *r.Min, "min is larger than max: %s", *r.Max)
		greater(*r.Max, most, "max", *r.Max, "max is larger than capacity value: %s", most)
		greater(standard, *r.Max, "default", standard, "default is more than max: %s", *r.Max)
	}
	if r.Step != nil {
		errs = append(errs, validateStep(standard, most, r, at)...)
	}
	return errs
}

// validateStep demands that the default and the maximum are whole steps from
// the minimum, once all of them are numbers that can be divided.
func validateStep(standard, most resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, at *field.Path) (errs field.ErrorList) {
	step := at.Child("step")
	if r.Step.Sign() <= 0 {
		return field.ErrorList{field.Invalid(step, r.Step.String(), "must be greater than zero")}
	}
	first := r.Min.DeepCopy()
	if first.Add(*r.Step); first.Cmp(most) > 0 {
		errs = append(errs, field.Invalid(step, r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", first.String(), most.String())))
	}
	bad := validateWhole(&standard, at.Child("default"))
	bad = append(bad, validateWhole(r.Min, at.Child("min"))...)
	bad = append(bad, validateWhole(r.Max, at.Child("max"))...)
	bad = append(bad, validateWhole(r.Step, step)...)
	if len(bad) > 0 {
		return append(errs, bad...)
	}
	for _, q := range []*resource.Quantity{&standard, r.Max} {
		if q != nil && (q.Value()-r.Min.Value())%r.Step.Value() != 0 {
			errs = append(errs, field.Invalid(step, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String())))
		}
	}
	return errs
}

func validateWhole(q *resource.Quantity, at *field.Path) field.ErrorList {
	switch {
	case q == nil:
		return nil
	case q.Sign() < 0:
		return field.ErrorList{field.Invalid(at, q.String(), validation.IsNegativeErrorMsg)}
	case q.CmpInt64(math.MaxInt64) > 0:
		return field.ErrorList{field.Invalid(at, q.String(), "must not be larger than 9223372036854775807")}
	}
	return nil
}
