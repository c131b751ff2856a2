package resourceapi

import (
	"fmt"
	"regexp"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// validateDevice checks a device of a slice; old is the stored device of its
// name, whose unchanged parts are left alone, or nil. own says whether devices
// choose their nodes themselves.
func validateDevice(d, old *resourcev1.Device, own bool, at *field.Path) field.ErrorList {
	const most, mostValues = resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice, resourcev1.ResourceSliceMaxAttributeValuesPerDevice
	errs := validate.DNSLabel(d.Name, at.Child("name"))
	if n := len(d.Attributes) + len(d.Capacity); n > most {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", most)))
	}
	if n := len(d.Attributes); n > mostValues {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attribute values must not exceed %d", mostValues)))
	}
	errs = append(errs, named[resourcev1.QualifiedName, resourcev1.DeviceAttribute]{longestName, validateQualified, validateAttribute}.validate(d.Attributes, at.Child("attributes"))...)
	if old == nil || !equality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
		check := func(c *resourcev1.DeviceCapacity, at *field.Path) field.ErrorList {
			return validateCapacity(c, shared, at)
		}
		errs = append(errs, named[resourcev1.QualifiedName, resourcev1.DeviceCapacity]{longestName, validateQualified, check}.validate(d.Capacity, at.Child("capacity"))...)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Taints, d.Taints) {
		errs = append(errs, list[resourcev1.DeviceTaint]{
			most:  resourcev1.DeviceTaintsMaxLength,
			check: func(t *resourcev1.DeviceTaint, at *field.Path) field.ErrorList { return validateTaint(t, nil, at) },
		}.validate(d.Taints, at.Child("taints"))...)
	}
	errs = append(errs, list[resourcev1.DeviceCounterConsumption]{
		most: resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, sizeDeclared: true,
		check: func(c *resourcev1.DeviceCounterConsumption, at *field.Path) field.ErrorList {
			return validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("counters"))
		},
		key: func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet }, keysDeclared: true,
	}.validate(d.ConsumesCounters, at.Child("consumesCounters"))...)
	errs = append(errs, validateDeviceReach(d, own, at)...)
	return append(errs, validateBinding(d.BindingConditions, d.BindingFailureConditions, at)...)
}

var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// validateAttribute checks the value; that there is one is declared.
func validateAttribute(a *resourcev1.DeviceAttribute, at *field.Path) (errs field.ErrorList) {
	const longest = resourcev1.DeviceAttributeMaxValueLength
	if v := a.StringValue; v != nil && len(*v) > longest {
		errs = append(errs, field.TooLong(at.Child("string"), *v, longest))
	}
	if v := a.VersionValue; v != nil {
		if !semver.MatchString(*v) {
			errs = append(errs, field.Invalid(at.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0"))
		}
		if len(*v) > longest {
			errs = append(errs, field.TooLong(at.Child("version"), *v, longest))
		}
	}
	return errs
}

// validateBinding checks the conditions that a claim waits for, or gives up on.
func validateBinding(conditions, failures []string, at *field.Path) (errs field.ErrorList) {
	wait, fail := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	name := func(s *string, at *field.Path) field.ErrorList { return metavalidation.ValidateLabelName(*s, at) }
	errs = append(errs, list[string]{most: resourcev1.BindingConditionsMaxSize, sizeDeclared: true, check: name}.validate(conditions, wait)...)
	errs = append(errs, list[string]{most: resourcev1.BindingFailureConditionsMaxSize, sizeDeclared: true, check: name}.validate(failures, fail)...)
	seen := map[string]bool{}
	for i, c := range conditions {
		if seen[c] {
			errs = append(errs, field.Duplicate(wait.Index(i), c))
		}
		seen[c] = true
	}
	failing := map[string]bool{}
	for i, c := range failures {
		if failing[c] {
			errs = append(errs, field.Duplicate(fail.Index(i), c))
		}
		failing[c] = true
		if seen[c] {
			errs = append(errs, field.Invalid(fail.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	switch {
	case len(conditions) == 0 && len(failures) > 0:
		errs = append(errs, field.Invalid(wait, conditions, "bindingConditions are required to use bindingFailureConditions"))
	case len(conditions) > 0 && len(failures) == 0:
		errs = append(errs, field.Invalid(fail, failures, "bindingFailureConditions are required to use bindingConditions"))
	}
	return errs
}
