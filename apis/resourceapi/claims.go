package resourceapi

import (
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateLabels(labels map[string]string, at *field.Path) field.ErrorList {
	return metavalidation.ValidateLabels(labels, at)
}

func defaultClaim(c *resourcev1.DeviceClaim) {
	for i := range c.Requests {
		if e := c.Requests[i].Exactly; e != nil {
			defaultMode(&e.AllocationMode, &e.Count)
			defaultTolerations(e.Tolerations)
		}
		for j := range c.Requests[i].FirstAvailable {
			r := &c.Requests[i].FirstAvailable[j]
			defaultMode(&r.AllocationMode, &r.Count)
			defaultTolerations(r.Tolerations)
		}
	}
}

func defaultMode(mode *resourcev1.DeviceAllocationMode, count *int64) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
}

func defaultTolerations(tolerations []resourcev1.DeviceToleration) {
	for i := range tolerations {
		if tolerations[i].Operator == "" {
			tolerations[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

// dropDerived forgets derived attributes, a feature that is off.
func dropDerived(c *resourcev1.DeviceClaim) {
	for i := range c.Requests {
		if e := c.Requests[i].Exactly; e != nil {
			e.DerivedAttributes = nil
		}
		for j := range c.Requests[i].FirstAvailable {
			c.Requests[i].FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

// validateClaim checks a claim beyond what its types declare.
func validateClaim(c *resourcev1.DeviceClaim, at *field.Path) (errs field.ErrorList) {
	var names []string
	for i := range c.Requests {
		r, here := &c.Requests[i], at.Child("requests").Index(i)
		errs = append(errs, validate.DNSLabel(r.Name, here.Child("name"))...)
		names = append(names, r.Name)
		if r.Exactly == nil && len(r.FirstAvailable) == 0 {
			errs = append(errs, field.Required(here, "exactly one of `exactly` or `firstAvailable` is required"))
		}
		if e := r.Exactly; e != nil {
			errs = append(errs, validateAsked(asked{e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, e.Capacity}, here.Child("exactly"))...)
		}
		for j := range r.FirstAvailable {
			f, sub := &r.FirstAvailable[j], here.Child("firstAvailable").Index(j)
			errs = append(errs, validate.DNSLabel(f.Name, sub.Child("name"))...)
			names = append(names, r.Name+"/"+f.Name)
			errs = append(errs, validateAsked(asked{f.DeviceClassName, f.Selectors, f.AllocationMode, f.Count, f.Tolerations, f.Capacity}, sub)...)
		}
	}
	for i := range c.Constraints {
		errs = append(errs, validateConstraint(&c.Constraints[i], names, at.Child("constraints").Index(i))...)
	}
	for i := range c.Config {
		here := at.Child("config").Index(i)
		errs = append(errs, validateMentioned(c.Config[i].Requests, names, here.Child("requests"))...)
		errs = append(errs, validateConfiguration(&c.Config[i].DeviceConfiguration, here)...)
	}
	return errs
}

// asked is what a request of either form asks for.
type asked struct {
	class       string
	selectors   []resourcev1.DeviceSelector
	mode        resourcev1.DeviceAllocationMode
	count       int64
	tolerations []resourcev1.DeviceToleration
	capacity    *resourcev1.CapacityRequirements
}

func validateAsked(a asked, at *field.Path) (errs field.ErrorList) {
	if a.class == "" {
		errs = append(errs, field.Required(at.Child("deviceClassName"), "").MarkCoveredByDeclarative())
	}
	errs = append(errs, validateSelectors(a.selectors, at.Child("selectors"))...)
	switch a.mode {
	case resourcev1.DeviceAllocationModeAll:
		if a.count != 0 {
			errs = append(errs, field.Invalid(at.Child("count"), a.count, "must not be specified when allocationMode is 'All'"))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if a.count <= 0 {
			errs = append(errs, field.Invalid(at.Child("count"), a.count, "must be greater than zero"))
		}
	}
	for i := range a.tolerations {
		errs = append(errs, validateToleration(&a.tolerations[i], at.Child("tolerations").Index(i))...)
	}
	return errs
}

func validateToleration(t *resourcev1.DeviceToleration, at *field.Path) (errs field.ErrorList) {
	if t.Key != "" {
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	}
	switch {
	case t.Operator == resourcev1.DeviceTolerationOpExists && t.Value != "":
		errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
	case t.Operator == resourcev1.DeviceTolerationOpEqual:
		errs = append(errs, validate.All(at.Child("value"), t.Value, utilvalidation.IsValidLabelValue(t.Value))...)
	}
	return errs
}

func validateConstraint(c *resourcev1.DeviceConstraint, names []string, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateMentioned(c.Requests, names, at.Child("requests"))...)
	if c.MatchAttribute == nil && c.DistinctAttribute == nil {
		return append(errs, field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
	}
	if c.MatchAttribute != nil {
		errs = append(errs, validateFullName(*c.MatchAttribute, at.Child("matchAttribute"))...)
	}
	if c.DistinctAttribute != nil {
		errs = append(errs, validateFullName(*c.DistinctAttribute, at.Child("distinctAttribute"))...)
	}
	return errs
}

// validateFullName demands "domain/name".
func validateFullName(name resourcev1.FullyQualifiedName, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	errs = validateQualified(string(name), at)
	if len(errs) == 0 && !strings.Contains(string(name), "/") {
		errs = append(errs, field.Invalid(at, name, "must include a domain"))
	}
	return errs
}

func validateMentioned(requests, names []string, at *field.Path) (errs field.ErrorList) {
	for i, r := range requests {
		for _, part := range strings.Split(r, "/") {
			errs = append(errs, validate.DNSLabel(part, at.Index(i))...)
		}
		if !slices.Contains(names, r) {
			errs = append(errs, field.Invalid(at.Index(i), r, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
		}
	}
	return errs
}

func validateConfiguration(c *resourcev1.DeviceConfiguration, at *field.Path) (errs field.ErrorList) {
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at.Child("opaque"), "")}
	}
	return validateParameters(c.Opaque.Parameters, at.Child("opaque", "parameters"))
}

func validateParameters(raw runtime.RawExtension, at *field.Path) field.ErrorList {
	switch {
	case len(raw.Raw) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(raw.Raw) > resourcev1.OpaqueParametersMaxLength:
		return field.ErrorList{field.TooLong(at, "", resourcev1.OpaqueParametersMaxLength)}
	case !strings.HasPrefix(strings.TrimSpace(string(raw.Raw)), "{"):
		return field.ErrorList{field.Invalid(at, "<value omitted>", "parameters must be a valid JSON object")}
	}
	return nil
}

// validateQualified checks "name" or "domain/name" of an attribute or capacity:
// the name is a C identifier.
func validateQualified(name string, at *field.Path) (errs field.ErrorList) {
	parts := strings.Split(name, "/")
	switch len(parts) {
	case 1:
		return validateIdentifier(parts[0], at)
	case 2:
		if parts[0] == "" {
			errs = append(errs, field.Required(at, "the domain must not be empty"))
		} else {
			errs = append(errs, validateDriver(parts[0], at)...)
		}
		if parts[1] == "" {
			return append(errs, field.Required(at, "the name must not be empty"))
		}
		return append(errs, validateIdentifier(parts[1], at)...)
	}
	return field.ErrorList{field.Invalid(at, name, "a qualified name must have at most one slash")}
}

func validateIdentifier(id string, at *field.Path) (errs field.ErrorList) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(at, id, resourcev1.DeviceMaxIDLength))
	}
	for i, r := range id {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return append(errs, field.Invalid(at, id, "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"))
		}
	}
	return errs
}

// validateDriver checks the name of a driver, which is a domain.
func validateDriver(name string, at *field.Path) (errs field.ErrorList) {
	if len(name) > resourcev1.DriverNameMaxLength {
		errs = append(errs, field.TooLong(at, name, resourcev1.DriverNameMaxLength))
	}
	return append(errs, validate.All(at, name, validation.NameIsDNSSubdomain(strings.ToLower(name), false))...)
}
