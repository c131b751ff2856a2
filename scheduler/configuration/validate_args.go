package configuration

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	schedv1 "k8s.io/kube-scheduler/config/v1"
)

// validateArgs says what is wrong with a plugin's arguments, which have their defaults.
func validateArgs(args any, path *field.Path) field.ErrorList {
	switch a := args.(type) {
	case *schedv1.DefaultPreemptionArgs:
		return validatePreemption(a, path)
	case *schedv1.InterPodAffinityArgs:
		if w := *a.HardPodAffinityWeight; w < 0 || w > 100 {
			return field.ErrorList{field.Invalid(path.Child("hardPodAffinityWeight"), w, "not in valid range [0, 100]")}
		}
	case *schedv1.NodeAffinityArgs:
		return validateNodeAffinity(a.AddedAffinity, path.Child("addedAffinity"))
	case *schedv1.NodeResourcesBalancedAllocationArgs:
		return validateBalanced(a.Resources, path.Child("resources"))
	case *schedv1.NodeResourcesFitArgs:
		return validateFit(a, path)
	case *schedv1.PodTopologySpreadArgs:
		return validateSpread(a, path)
	case *schedv1.VolumeBindingArgs:
		return validateVolumeBinding(a, path)
	case *schedv1.DynamicResourcesArgs:
		return validateDynamicResources(a, path)
	}
	return nil
}

func validatePreemption(a *schedv1.DefaultPreemptionArgs, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	percentage, absolute := *a.MinCandidateNodesPercentage, *a.MinCandidateNodesAbsolute
	if percentage < 0 || percentage > 100 {
		errs = append(errs, field.Invalid(path.Child("minCandidateNodesPercentage"), percentage, "not in valid range [0, 100]"))
	}
	if absolute < 0 {
		errs = append(errs, field.Invalid(path.Child("minCandidateNodesAbsolute"), absolute, "not in valid range [0, inf)"))
	}
	if percentage == 0 && absolute == 0 {
		errs = append(errs,
			field.Invalid(path.Child("minCandidateNodesPercentage"), percentage, "cannot be zero at the same time as minCandidateNodesAbsolute"),
			field.Invalid(path.Child("minCandidateNodesAbsolute"), absolute, "cannot be zero at the same time as minCandidateNodesPercentage"))
	}
	return errs
}

func validateNodeAffinity(added *corev1.NodeAffinity, path *field.Path) field.ErrorList {
	if added == nil {
		return nil
	}
	var errs field.ErrorList
	if required := added.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		_, err := nodeaffinity.NewNodeSelector(required, field.WithPath(path.Child("requiredDuringSchedulingIgnoredDuringExecution")))
		errs = append(errs, fieldErrors(err, path)...)
	}
	if preferred := added.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) > 0 {
		_, err := nodeaffinity.NewPreferredSchedulingTerms(preferred, field.WithPath(path.Child("preferredDuringSchedulingIgnoredDuringExecution")))
		errs = append(errs, fieldErrors(err, path)...)
	}
	return errs
}

// fieldErrors takes an aggregate apart.
func fieldErrors(err error, path *field.Path) field.ErrorList {
	var aggregate utilerrors.Aggregate
	if !errors.As(err, &aggregate) {
		if err == nil {
			return nil
		}
		aggregate = utilerrors.NewAggregate([]error{err})
	}
	var errs field.ErrorList
	for _, e := range utilerrors.Flatten(aggregate).Errors() {
		var typed *field.Error
		if !errors.As(e, &typed) {
			typed = field.Invalid(path, "", e.Error())
		}
		errs = append(errs, typed)
	}
	return errs
}

func validateBalanced(resources []schedv1.ResourceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, r := range resources {
		if seen.Has(r.Name) {
			errs = append(errs, field.Duplicate(path.Index(i).Child("name"), r.Name))
		}
		seen.Insert(r.Name)
		if r.Weight != 1 {
			errs = append(errs, field.Invalid(path.Index(i).Child("weight"), r.Weight, "must be 1"))
		}
	}
	return errs
}

func validateFit(a *schedv1.NodeResourcesFitArgs, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, r := range a.IgnoredResources {
		errs = append(errs, metav1validation.ValidateLabelName(r, path.Child("ignoredResources").Index(i))...)
	}
	for i, group := range a.IgnoredResourceGroups {
		at := path.Child("ignoredResourceGroups").Index(i)
		if strings.Contains(group, "/") {
			errs = append(errs, field.Invalid(at, group, "resource group name can't contain '/'"))
		}
		errs = append(errs, metav1validation.ValidateLabelName(group, at)...)
	}
	return append(errs, validateStrategy(a.ScoringStrategy, path.Child("scoringStrategy"))...)
}

func validateStrategy(s *schedv1.ScoringStrategy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := []string{string(schedv1.LeastAllocated), string(schedv1.MostAllocated), string(schedv1.RequestedToCapacityRatio)}
	if !sets.New(known...).Has(string(s.Type)) {
		errs = append(errs, field.NotSupported(path.Child("type"), string(s.Type), known))
	}
	for i, r := range s.Resources {
		if r.Weight <= 0 || r.Weight > 100 {
			errs = append(errs, field.Invalid(path.Child("resources").Index(i).Child("weight"), r.Weight,
				fmt.Sprintf("resource weight of %v not in valid range (0, 100]", r.Name)))
		}
	}
	ratio := path.Child("requestedToCapacityRatio")
	switch {
	case s.Type == schedv1.RequestedToCapacityRatio && s.RequestedToCapacityRatio == nil:
		errs = append(errs, field.Required(ratio, "must be specified when type is RequestedToCapacityRatio"))
	case s.Type == schedv1.RequestedToCapacityRatio:
		errs = append(errs, validateShape(s.RequestedToCapacityRatio.Shape, ratio.Child("shape"))...)
	case s.RequestedToCapacityRatio != nil:
		errs = append(errs, field.Forbidden(ratio, "must be nil when type is not RequestedToCapacityRatio"))
	}
	return errs
}

func validateShape(shape []schedv1.UtilizationShapePoint, path *field.Path) field.ErrorList {
	if len(shape) == 0 {
		return field.ErrorList{field.Required(path, "at least one point must be specified")}
	}
	var errs field.ErrorList
	for i := 1; i < len(shape); i++ {
		if shape[i-1].Utilization >= shape[i].Utilization {
			errs = append(errs, field.Invalid(path.Index(i).Child("utilization"), shape[i].Utilization, "values must be sorted in increasing order"))
			break
		}
	}
	for i, point := range shape {
		if point.Utilization < 0 || point.Utilization > 100 {
			errs = append(errs, field.Invalid(path.Index(i).Child("utilization"), point.Utilization, "not in valid range [0, 100]"))
		}
		if point.Score < 0 || point.Score > 10 {
			errs = append(errs, field.Invalid(path.Index(i).Child("score"), point.Score, "not in valid range [0, 10]"))
		}
	}
	return errs
}

func validateSpread(a *schedv1.PodTopologySpreadArgs, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case a.DefaultingType != schedv1.SystemDefaulting && a.DefaultingType != schedv1.ListDefaulting:
		errs = append(errs, field.NotSupported(path.Child("defaultingType"), a.DefaultingType,
			[]schedv1.PodTopologySpreadConstraintsDefaulting{schedv1.SystemDefaulting, schedv1.ListDefaulting}))
	case a.DefaultingType == schedv1.SystemDefaulting && len(a.DefaultConstraints) > 0:
		errs = append(errs, field.Invalid(path.Child("defaultingType"), a.DefaultingType, "when .defaultConstraints are not empty"))
	}
	type pair struct {
		key    string
		action corev1.UnsatisfiableConstraintAction
	}
	seen := sets.New[pair]()
	for i := range a.DefaultConstraints {
		c, at := &a.DefaultConstraints[i], path.Child("defaultConstraints").Index(i)
		errs = append(errs, validateConstraint(c, at)...)
		if p := (pair{c.TopologyKey, c.WhenUnsatisfiable}); seen.Has(p) {
			errs = append(errs, field.Duplicate(at, fmt.Sprintf("{%v, %v}", p.key, p.action)))
		} else {
			seen.Insert(p)
		}
	}
	return errs
}

func validateConstraint(c *corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.MaxSkew <= 0 {
		errs = append(errs, field.Invalid(path.Child("maxSkew"), c.MaxSkew, "not in valid range (0, inf)"))
	}
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	} else {
		errs = append(errs, metav1validation.ValidateLabelName(c.TopologyKey, path.Child("topologyKey"))...)
	}
	switch c.WhenUnsatisfiable {
	case corev1.DoNotSchedule, corev1.ScheduleAnyway:
	case "":
		errs = append(errs, field.Required(path.Child("whenUnsatisfiable"), "can not be empty"))
	default:
		errs = append(errs, field.NotSupported(path.Child("whenUnsatisfiable"), c.WhenUnsatisfiable,
			[]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}))
	}
	if c.LabelSelector != nil {
		errs = append(errs, field.Forbidden(path.Child("labelSelector"), "constraint must not define a selector, as they deduced for each pod"))
	}
	return errs
}

func validateVolumeBinding(a *schedv1.VolumeBindingArgs, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if *a.BindTimeoutSeconds < 0 {
		errs = append(errs, field.Invalid(path.Child("bindTimeoutSeconds"), *a.BindTimeoutSeconds, "invalid BindTimeoutSeconds, should not be a negative value"))
	}
	if len(a.Shape) > 0 {
		errs = append(errs, field.Forbidden(path.Child("shape"), "skiff doesn't score nodes by the capacity of their storage, leave it out"))
	}
	return errs
}

func validateDynamicResources(a *schedv1.DynamicResourcesArgs, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if a.FilterTimeout.Duration < 0 {
		errs = append(errs, field.Invalid(path.Child("filterTimeout"), a.FilterTimeout.Duration.String(), "must be zero or positive"))
	}
	if a.BindingTimeout.Duration < time.Second {
		errs = append(errs, field.Invalid(path.Child("bindingTimeout"), a.BindingTimeout.Duration.String(), "must be at least 1 second"))
	}
	return errs
}
