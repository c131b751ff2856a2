package resourceapi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func resourceSlices() resource.Definition[*resourcev1.ResourceSlice] {
	type S = *resourcev1.ResourceSlice
	doc := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return resource.Definition[S]{
		Resource:      group.WithResource("resourceslices"),
		Kind:          "ResourceSlice",
		Singular:      "resourceslice",
		ClusterScoped: true,
		Object:        &resourcev1.ResourceSlice{},
		List:          &resourcev1.ResourceSliceList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		Default: func(s S) {
			for i := range s.Spec.Devices {
				for j := range s.Spec.Devices[i].Taints {
					defaultTaint(&s.Spec.Devices[i].Taints[j])
				}
			}
		},
		Prepare:  prepareSlice,
		Validate: validateSlice,
		// the generation is counted in prepareSlice
		NoGeneration: true,
		Fields: func(s S) fields.Set {
			return fields.Set{
				resourcev1.ResourceSliceSelectorNodeName: nodeOf(s),
				resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
			}
		},
		Columns: []resource.Column[S]{
			{Name: "Node", Type: "string", Help: doc["nodeName"], Value: func(s S) any { return nodeOf(s) }},
			{Name: "Driver", Type: "string", Help: doc["driver"], Value: func(s S) any { return s.Spec.Driver }},
			{Name: "Pool", Type: "string", Help: resourcev1.ResourcePool{}.SwaggerDoc()["name"], Value: func(s S) any { return s.Spec.Pool.Name }},
		},
	}
}

func nodeOf(s *resourcev1.ResourceSlice) string {
	if s.Spec.NodeName == nil {
		return ""
	}
	return *s.Spec.NodeName
}

// prepareSlice counts the generation, by what was sent, and drops the fields of
// features that are off.
func prepareSlice(_ context.Context, obj, old *resourcev1.ResourceSlice) {
	obj.Generation = 1
	if old != nil {
		if obj.Generation = old.Generation; !equality.Semantic.DeepEqual(obj.Spec, old.Spec) {
			obj.Generation++
		}
	}
	obj.Spec.PartitionTypeAttribute, obj.Spec.SkipNodeOperations = nil, nil
	for i := range obj.Spec.Devices {
		d := &obj.Spec.Devices[i]
		d.NodeAllocatableResources = nil
		for j := range d.ConsumesCounters {
			d.ConsumesCounters[j].CompatibilityGroups = nil
		}
		for name, a := range d.Attributes {
			a.IntValues, a.BoolValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
			d.Attributes[name] = a
		}
	}
}

func validateSlice(_ context.Context, obj, old *resourcev1.ResourceSlice) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	errs = append(errs, validatePool(&s.Pool, at.Child("pool"))...)
	errs = append(errs, validateWhere(s, at)...)
	if len(s.SharedCounters) > 0 && len(s.Devices) > 0 {
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "only one of `sharedCounters` or `devices` is allowed"))
	}
	names := map[string]bool{}
	for i := range s.Devices {
		d, here := &s.Devices[i], at.Child("devices").Index(i)
		if names[d.Name] {
			errs = append(errs, field.Duplicate(here.Child("name"), d.Name))
		}
		names[d.Name] = true
		errs = append(errs, validateDevice(d, here)...)
		errs = append(errs, validateDeviceWhere(d, s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection, here)...)
	}
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(s.Pool.Name, old.Spec.Pool.Name, at.Child("pool", "name")).WithOrigin("immutable").MarkCoveredByDeclarative()...)
		errs = append(errs, validation.ValidateImmutableField(s.NodeName, old.Spec.NodeName, at.Child("nodeName")).WithOrigin("immutable").MarkCoveredByDeclarative()...)
	}
	return errs
}

func validatePool(p *resourcev1.ResourcePool, at *field.Path) (errs field.ErrorList) {
	if p.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "").MarkCoveredByDeclarative())
	} else {
		for _, part := range strings.Split(p.Name, "/") {
			for _, e := range validate.DNSSubdomain(part, at.Child("name")) {
				errs = append(errs, e.MarkCoveredByDeclarative().WithOrigin("format=k8s-resource-pool-name"))
			}
		}
	}
	if p.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(at.Child("resourceSliceCount"), p.ResourceSliceCount, "must be greater than zero"))
	}
	if p.Generation < 0 {
		errs = append(errs, field.Invalid(at.Child("generation"), p.Generation, "must be greater than or equal to zero"))
	}
	return errs
}

// validateWhere demands one way to say which nodes reach the devices.
func validateWhere(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	var set []string
	if s.NodeName != nil {
		set = append(set, "`nodeName`")
	}
	if s.NodeSelector != nil {
		set = append(set, "`nodeSelector`")
	}
	if s.AllNodes != nil && *s.AllNodes {
		set = append(set, "`allNodes`")
	}
	if s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection {
		set = append(set, "`perDeviceNodeSelection`")
	}
	var errs field.ErrorList
	for _, flag := range []struct {
		name string
		set  *bool
	}{{"allNodes", s.AllNodes}, {"perDeviceNodeSelection", s.PerDeviceNodeSelection}} {
		if flag.set != nil && !*flag.set {
			errs = append(errs, field.Invalid(at.Child(flag.name), false, "must be either unset or set to true"))
		}
	}
	if s.NodeSelector != nil {
		errs = append(errs, validateNodeSelector(s.NodeSelector, at.Child("nodeSelector"))...)
	}
	const ways = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch len(set) {
	case 0:
		return append(errs, field.Required(at, ways))
	case 1:
		return errs
	}
	return append(errs, field.Invalid(at, fmt.Sprintf("{%s}", strings.Join(set, ", ")), ways+", but multiple fields are set"))
}

// validateNodeSelector demands one term: the nodes that reach a device are
// compared as one set.
func validateNodeSelector(s *corev1.NodeSelector, at *field.Path) field.ErrorList {
	errs := podspec.ValidateNodeSelector(s, at)
	if len(s.NodeSelectorTerms) != 1 {
		errs = append(errs, field.Invalid(at.Child("nodeSelectorTerms"), s.NodeSelectorTerms, "must have exactly one node selector term"))
	}
	return errs
}

// validateDeviceWhere demands that a device says which nodes reach it where the
// slice leaves that to it, and only there.
func validateDeviceWhere(d *resourcev1.Device, own bool, at *field.Path) (errs field.ErrorList) {
	const ways = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	const other = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	set := 0
	if d.NodeName != nil {
		set++
		errs = append(errs, validate.DNSSubdomain(*d.NodeName, at.Child("nodeName"))...)
	}
	if d.NodeSelector != nil {
		set++
		errs = append(errs, validateNodeSelector(d.NodeSelector, at.Child("nodeSelector"))...)
	}
	if d.AllNodes != nil {
		if *d.AllNodes {
			set++
		} else {
			errs = append(errs, field.Invalid(at.Child("allNodes"), false, "must be either unset or set to true"))
		}
	}
	switch {
	case own && set == 0:
		errs = append(errs, field.Required(at, ways))
	case own && set > 1:
		errs = append(errs, field.Invalid(at, nil, ways))
	case !own && set > 0:
		errs = append(errs, field.Invalid(at, nil, other))
	}
	return errs
}

func validateDevice(d *resourcev1.Device, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validate.DNSLabel(d.Name, at.Child("name"))...)
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		errs = append(errs, validateQualified(string(name), at.Child("attributes"))...)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
		errs = append(errs, validateQualified(string(name), at.Child("capacity"))...)
		if d.Capacity[name].RequestPolicy != nil && (d.AllowMultipleAllocations == nil || !*d.AllowMultipleAllocations) {
			errs = append(errs, field.Forbidden(at.Child("capacity").Key(string(name)).Child("requestPolicy"), "allowMultipleAllocations must be true"))
		}
	}
	for i, c := range d.BindingConditions {
		errs = append(errs, validate.QualifiedName(c, at.Child("bindingConditions").Index(i))...)
	}
	for i, c := range d.BindingFailureConditions {
		errs = append(errs, validate.QualifiedName(c, at.Child("bindingFailureConditions").Index(i))...)
	}
	switch {
	case len(d.BindingConditions) > 0 && len(d.BindingFailureConditions) == 0:
		errs = append(errs, field.Invalid(at.Child("bindingFailureConditions"), d.BindingFailureConditions, "bindingFailureConditions are required to use bindingConditions"))
	case len(d.BindingConditions) == 0 && len(d.BindingFailureConditions) > 0:
		errs = append(errs, field.Invalid(at.Child("bindingConditions"), d.BindingConditions, "bindingConditions are required to use bindingFailureConditions"))
	}
	for i := range d.Taints {
		errs = append(errs, validateTaint(&d.Taints[i], at.Child("taints").Index(i))...)
	}
	return errs
}
