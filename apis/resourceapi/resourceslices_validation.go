package resourceapi

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/validate"
)

func validateSlice(_ context.Context, obj, old *resourcev1.ResourceSlice) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &obj.Spec
	errs = append(errs, podspec.ValidateCSIDriverName(s.Driver, at.Child("driver"))...)
	errs = append(errs, validatePool(&s.Pool, at.Child("pool"))...)
	before := map[string]*resourcev1.Device{}
	if old != nil {
		o := &old.Spec
		errs = append(errs, validation.ValidateImmutableField(s.Pool.Name, o.Pool.Name, at.Child("pool", "name"))...)
		errs = append(errs, validation.ValidateImmutableField(s.Driver, o.Driver, at.Child("driver"))...)
		errs = append(errs, validation.ValidateImmutableField(s.NodeName, o.NodeName, at.Child("nodeName"))...)
		for i := range o.Devices {
			before[o.Devices[i].Name] = &o.Devices[i]
		}
	}
	errs = append(errs, validateReach(s, at)...)
	if s.SharedCounters != nil && s.Devices != nil {
		errs = append(errs, field.Invalid(at, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	own := s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection
	errs = append(errs, list[resourcev1.Device]{
		most: mostDevices(s),
		check: func(d *resourcev1.Device, at *field.Path) field.ErrorList {
			return validateDevice(d, before[d.Name], own, at)
		},
		key: func(d *resourcev1.Device) string { return d.Name },
	}.validate(s.Devices, at.Child("devices"))...)
	return append(errs, list[resourcev1.CounterSet]{
		most: resourcev1.ResourceSliceMaxCounterSets, sizeDeclared: true,
		check: func(c *resourcev1.CounterSet, at *field.Path) field.ErrorList {
			return validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, at.Child("counters"))
		},
		key: func(c *resourcev1.CounterSet) string { return c.Name }, keysDeclared: true,
	}.validate(s.SharedCounters, at.Child("sharedCounters"))...)
}

// mostDevices is smaller where the devices of a slice are big.
func mostDevices(s *resourcev1.ResourceSliceSpec) int {
	for i := range s.Devices {
		if len(s.Devices[i].Taints)+len(s.Devices[i].ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

// validateCounters checks how many there are; their names and that there are
// any is declared.
func validateCounters(counters map[string]resourcev1.Counter, most int, at *field.Path) field.ErrorList {
	if len(counters) > most {
		return field.ErrorList{field.TooMany(at, len(counters), most)}
	}
	return nil
}

func validatePool(p *resourcev1.ResourcePool, at *field.Path) field.ErrorList {
	errs := validatePoolName(p.Name, at.Child("name"))
	if p.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(at.Child("resourceSliceCount"), p.ResourceSliceCount, "must be greater than zero"))
	}
	if p.Generation < 0 {
		errs = append(errs, field.Invalid(at.Child("generation"), p.Generation, "must be greater than or equal to zero"))
	}
	return errs
}

// reach collects the ways in which a spec says which nodes reach its devices.
type reach struct {
	set  []string
	errs field.ErrorList
}

func (r *reach) node(name *string, wrong string, at *field.Path) {
	switch {
	case name == nil:
	case *name == "":
		r.errs = append(r.errs, field.Invalid(at.Child("nodeName"), *name, wrong))
	default:
		r.set = append(r.set, "`nodeName`")
		r.errs = append(r.errs, validateNodeName(*name, at.Child("nodeName"))...)
	}
}

func (r *reach) selector(s *corev1.NodeSelector, at *field.Path) {
	if s != nil {
		r.set = append(r.set, "`nodeSelector`")
		r.errs = append(r.errs, podspec.ValidateNodeSelector(s, at.Child("nodeSelector"))...)
	}
}

func (r *reach) flag(name string, value *bool, at *field.Path) {
	switch {
	case value == nil:
	case *value:
		r.set = append(r.set, "`"+name+"`")
	default:
		r.errs = append(r.errs, field.Invalid(at.Child(name), *value, "must be either unset or set to true"))
	}
}

// one demands that exactly one way was chosen.
func (r *reach) one(ways, several string, at *field.Path) field.ErrorList {
	switch len(r.set) {
	case 0:
		return append(r.errs, field.Required(at, ways))
	case 1:
		return r.errs
	}
	return append(r.errs, field.Invalid(at, fmt.Sprintf("{%s}", strings.Join(r.set, ", ")), ways+several))
}

func validateReach(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	const ways = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	var r reach
	r.node(s.NodeName, "must be either unset or set to a non-empty string", at)
	r.selector(s.NodeSelector, at)
	if s.NodeSelector != nil && len(s.NodeSelector.NodeSelectorTerms) != 1 {
		// so that the selectors of several slices can be merged
		r.errs = append(r.errs, field.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), validate.GoNames{Value: s.NodeSelector.NodeSelectorTerms}, "must have exactly one node selector term"))
	}
	r.flag("allNodes", s.AllNodes, at)
	r.flag("perDeviceNodeSelection", s.PerDeviceNodeSelection, at)
	return r.one(ways, ", but multiple fields are set", at)
}

// validateDeviceReach demands that a device says which nodes reach it where the
// slice leaves that to it, and only there.
func validateDeviceReach(d *resourcev1.Device, own bool, at *field.Path) field.ErrorList {
	const when = "`perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	if !own {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			return field.ErrorList{field.Invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if "+when)}
		}
		return nil
	}
	var r reach
	r.node(d.NodeName, "must not be empty", at)
	r.selector(d.NodeSelector, at)
	r.flag("allNodes", d.AllNodes, at)
	return r.one("exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when "+when, "", at)
}
