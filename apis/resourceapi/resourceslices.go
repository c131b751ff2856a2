package resourceapi

import (
	"context"
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"

	"skiff/apis/resource"
)

func resourceSlices() resource.Definition[*resourcev1.ResourceSlice] {
	type S = *resourcev1.ResourceSlice
	doc := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return resource.Definition[S]{
		Resource:      group.WithResource("resourceslices"),
		Kind:          "ResourceSlice",
		ReturnDeleted: true,
		Singular:      "resourceslice",
		ClusterScoped: true,
		Object:        &resourcev1.ResourceSlice{},
		List:          &resourcev1.ResourceSliceList{},
		Register:      register,
		Gates:         gates(),
		Name:          validation.NameIsDNSSubdomain,
		NameOnce:      true,
		Default: func(s S) {
			for i := range s.Spec.Devices {
				for j := range s.Spec.Devices[i].Taints {
					defaultTaint(&s.Spec.Devices[i].Taints[j])
				}
			}
		},
		Prepare:  prepareSlice,
		Validate: validateSlice,
		Warn:     warnSlice,
		// the generation is counted in prepareSlice
		NoGeneration: true,
		Fields: func(s S) fields.Set {
			return fields.Set{
				resourcev1.ResourceSliceSelectorNodeName: nodeOf(s),
				resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
				resourcev1.ResourceSliceSelectorPoolName: s.Spec.Pool.Name,
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

func warnSlice(_ context.Context, obj, _ *resourcev1.ResourceSlice) []string {
	if d := obj.Spec.Driver; d != strings.ToLower(d) {
		return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", d)}
	}
	return nil
}
