package resourceapi

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

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
func validateClaim(c *resourcev1.DeviceClaim, at *field.Path) field.ErrorList {
	names := namesOf(c)
	errs := list[resourcev1.DeviceRequest]{
		most: resourcev1.DeviceRequestsMaxSize, sizeDeclared: true,
		check: validateRequest,
		key:   func(r *resourcev1.DeviceRequest) string { return r.Name }, keysDeclared: true,
	}.validate(c.Requests, at.Child("requests"))
	errs = append(errs, list[resourcev1.DeviceConstraint]{
		most: resourcev1.DeviceConstraintsMaxSize, sizeDeclared: true,
		check: func(c *resourcev1.DeviceConstraint, at *field.Path) field.ErrorList {
			return validateConstraint(c, names, at)
		},
	}.validate(c.Constraints, at.Child("constraints"))...)
	return append(errs, list[resourcev1.DeviceClaimConfiguration]{
		most: resourcev1.DeviceConfigMaxSize, sizeDeclared: true,
		check: func(c *resourcev1.DeviceClaimConfiguration, at *field.Path) field.ErrorList {
			errs := validateMentioned(c.Requests, names, at.Child("requests"))
			return append(errs, validateConfiguration(&c.DeviceConfiguration, false, at)...)
		},
	}.validate(c.Config, at.Child("config"))...)
}

// namesOf lists what the rest of a claim can refer to: requests, and the
// requests under them as "request/subrequest".
func namesOf(c *resourcev1.DeviceClaim) (names []string) {
	for i := range c.Requests {
		names = append(names, c.Requests[i].Name)
		for j := range c.Requests[i].FirstAvailable {
			names = append(names, c.Requests[i].Name+"/"+c.Requests[i].FirstAvailable[j].Name)
		}
	}
	return names
}

func validateRequest(r *resourcev1.DeviceRequest, at *field.Path) field.ErrorList {
	const ways = "exactly one of `exactly` or `firstAvailable` is required"
	errs := validate.DNSLabel(r.Name, at.Child("name"))
	switch e, first := r.Exactly, len(r.FirstAvailable) > 0; {
	case e == nil && !first:
		return append(errs, field.Required(at, ways))
	case e != nil && first:
		return append(errs, field.Invalid(at, nil, ways+", but multiple fields are set"))
	case e != nil:
		return append(errs, validateAsked(asked{e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, false}, at.Child("exactly"))...)
	}
	return append(errs, list[resourcev1.DeviceSubRequest]{
		most: resourcev1.FirstAvailableDeviceRequestMaxSize, sizeDeclared: true,
		check: func(f *resourcev1.DeviceSubRequest, at *field.Path) field.ErrorList {
			errs := validate.DNSLabel(f.Name, at.Child("name"))
			return append(errs, validateAsked(asked{f.DeviceClassName, f.Selectors, f.AllocationMode, f.Count, f.Tolerations, true}, at)...)
		},
		key: func(f *resourcev1.DeviceSubRequest) string { return f.Name }, keysDeclared: true,
	}.validate(r.FirstAvailable, at.Child("firstAvailable"))...)
}

// asked is what a request of either form asks for.
type asked struct {
	class         string
	selectors     []resourcev1.DeviceSelector
	mode          resourcev1.DeviceAllocationMode
	count         int64
	tolerations   []resourcev1.DeviceToleration
	classDeclared bool
}

func validateAsked(a asked, at *field.Path) field.ErrorList {
	errs := validate.DNSSubdomain(a.class, at.Child("deviceClassName"))
	if a.class == "" {
		errs = field.ErrorList{field.Required(at.Child("deviceClassName"), "")}
	}
	if a.classDeclared {
		errs = errs.MarkCoveredByDeclarative()
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
	default:
		errs = append(errs, field.NotSupported(at.Child("allocationMode"), a.mode, []resourcev1.DeviceAllocationMode{
			resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount,
		}).MarkCoveredByDeclarative())
	}
	for i := range a.tolerations {
		errs = append(errs, validateToleration(&a.tolerations[i], at.Child("tolerations").Index(i))...)
	}
	return errs
}

func validateConstraint(c *resourcev1.DeviceConstraint, names []string, at *field.Path) field.ErrorList {
	errs := validateMentioned(c.Requests, names, at.Child("requests"))
	switch {
	case c.MatchAttribute != nil:
		return append(errs, validateFull(*c.MatchAttribute, at.Child("matchAttribute")).MarkCoveredByDeclarative()...)
	case c.DistinctAttribute != nil:
		return append(errs, validateFull(*c.DistinctAttribute, at.Child("distinctAttribute")).MarkCoveredByDeclarative()...)
	}
	return append(errs, field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
}

// validateMentioned checks references to the requests of a claim.
func validateMentioned(requests, names []string, at *field.Path) field.ErrorList {
	return list[string]{
		most: resourcev1.DeviceRequestsMaxSize, sizeDeclared: true,
		check: func(name *string, at *field.Path) field.ErrorList { return validateMention(*name, names, at) },
		key:   itself, keysDeclared: true,
	}.validate(requests, at)
}

func validateMention(name string, names []string, at *field.Path) (errs field.ErrorList) {
	const text = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		return field.ErrorList{field.Invalid(at, name, text)}
	}
	for _, part := range parts {
		errs = append(errs, validate.DNSLabel(part, at)...)
	}
	if !slices.Contains(names, name) {
		errs = append(errs, field.Invalid(at, name, text))
	}
	return errs
}

func validateConfiguration(c *resourcev1.DeviceConfiguration, stored bool, at *field.Path) field.ErrorList {
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at.Child("opaque"), "")}
	}
	errs := validateDriver(c.Opaque.Driver, at.Child("opaque", "driver"))
	return append(errs, validateParameters(&c.Opaque.Parameters, stored, at.Child("opaque", "parameters"))...)
}

// validateParameters demands a JSON object; what is stored may be of any size.
func validateParameters(raw *runtime.RawExtension, stored bool, at *field.Path) field.ErrorList {
	longest := resourcev1.OpaqueParametersMaxLength
	if stored {
		longest = math.MaxInt
	}
	return validateObject(raw, longest, at)
}

// validateObject demands a JSON object of at most so many bytes.
func validateObject(raw *runtime.RawExtension, longest int, at *field.Path) field.ErrorList {
	const omitted = "<value omitted>"
	switch {
	case len(raw.Raw) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(raw.Raw) > longest:
		return field.ErrorList{field.TooLong(at, "", longest)}
	}
	var v any
	if err := json.Unmarshal(raw.Raw, &v); err != nil {
		return field.ErrorList{field.Invalid(at, omitted, fmt.Sprintf("error parsing data as JSON: %v", err))}
	}
	if v == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	if _, ok := v.(map[string]any); !ok {
		return field.ErrorList{field.Invalid(at, omitted, "must be a valid JSON object")}
	}
	return nil
}
