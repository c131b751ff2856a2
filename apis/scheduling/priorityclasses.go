package scheduling

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	declared "skiff/apis/declarative/scheduling/v1"
	"skiff/apis/resource"
)

const (
	// highestUserPriority bounds what users may define; classes of the system are above it.
	highestUserPriority = int32(1000000000)
	systemPrefix        = "system-"
)

// systemPriorities are the only classes whose names may start with systemPrefix.
func systemPriorities() map[string]int32 {
	return map[string]int32{
		"system-node-critical":    2*highestUserPriority + 1000,
		"system-cluster-critical": 2 * highestUserPriority,
	}
}

func priorityClasses() resource.Definition[*schedulingv1.PriorityClass] {
	type P = *schedulingv1.PriorityClass
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return resource.Definition[P]{
		Resource:      schedulingv1.SchemeGroupVersion.WithResource("priorityclasses"),
		Kind:          "PriorityClass",
		Singular:      "priorityclass",
		ShortNames:    []string{"pc"},
		ClusterScoped: true,
		Object:        &schedulingv1.PriorityClass{},
		List:          &schedulingv1.PriorityClassList{},
		Register:      declared.RegisterValidations,
		Name:          validation.NameIsDNSSubdomain,
		NameOnce:      true,
		Default: func(p P) {
			if p.PreemptionPolicy == nil {
				lower := corev1.PreemptLowerPriority
				p.PreemptionPolicy = &lower
			}
		},
		Prepare: func(_ context.Context, obj, old P) {
			if old == nil {
				obj.Generation = 1
			}
		},
		Validate: validatePriorityClass,
		Columns: []resource.Column[P]{
			{Name: "Value", Type: "integer", Help: doc["value"], Value: func(p P) any { return int64(p.Value) }},
			{Name: "Global-Default", Type: "boolean", Help: doc["globalDefault"], Value: func(p P) any { return p.GlobalDefault }},
			resource.AgeColumn[P](),
			{Name: "PreemptionPolicy", Type: "string", Help: doc["preemptionPolicy"], Value: func(p P) any {
				if p.PreemptionPolicy == nil {
					return ""
				}
				return string(*p.PreemptionPolicy)
			}},
		},
	}
}

func validatePriorityClass(_ context.Context, obj, old *schedulingv1.PriorityClass) (errs field.ErrorList) {
	if old != nil {
		return validatePriorityClassUpdate(obj, old)
	}
	if strings.HasPrefix(obj.Name, systemPrefix) {
		if err := checkSystemPriority(obj); err != nil {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"), "priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+err.Error()))
		}
	} else if obj.Value > highestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", highestUserPriority)))
	}
	if p := obj.PreemptionPolicy; p != nil && *p != corev1.PreemptLowerPriority && *p != corev1.PreemptNever {
		at := field.NewPath("preemptionPolicy")
		if *p == "" {
			return append(errs, field.Required(at, ""))
		}
		errs = append(errs, field.NotSupported(at, *p, []corev1.PreemptionPolicy{corev1.PreemptLowerPriority, corev1.PreemptNever}))
	}
	return errs
}

func checkSystemPriority(obj *schedulingv1.PriorityClass) error {
	want, ok := systemPriorities()[obj.Name]
	switch {
	case !ok:
		return fmt.Errorf("%v is not a known system priority class", obj.Name)
	case obj.Value != want:
		return fmt.Errorf("value of %v PriorityClass must be %v", obj.Name, want)
	case obj.GlobalDefault:
		return fmt.Errorf("globalDefault of %v PriorityClass must be %v", obj.Name, false)
	}
	return nil
}

func validatePriorityClassUpdate(obj, old *schedulingv1.PriorityClass) (errs field.ErrorList) {
	if obj.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	errs = append(errs, validation.ValidateImmutableField(obj.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	return errs
}
