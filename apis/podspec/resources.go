package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	helpers "k8s.io/component-helpers/resource"

	"skiff/apis/validate"
)

// validateRequirements checks limits, requests and claims; name checks the
// name of each resource.
func validateRequirements(r *corev1.ResourceRequirements, claims []string, path *field.Path, name func(corev1.ResourceName, *field.Path) field.ErrorList) (errs field.ErrorList) {
	limits, requests := path.Child("limits"), path.Child("requests")
	huge, base := false, false
	note := func(n corev1.ResourceName) {
		huge = huge || hugePages(n)
		base = base || n == corev1.ResourceCPU || n == corev1.ResourceMemory
	}
	for _, n := range slices.Sorted(maps.Keys(r.Limits)) {
		at := limits.Key(string(n))
		errs = append(errs, name(n, at)...)
		errs = append(errs, ValidateQuantity(n, r.Limits[n], at)...)
		errs = append(errs, validateHugePages(n, r.Limits[n], at)...)
		note(n)
	}
	for _, n := range slices.Sorted(maps.Keys(r.Requests)) {
		q, at := r.Requests[n], requests.Key(string(n))
		errs = append(errs, name(n, at)...)
		errs = append(errs, ValidateQuantity(n, q, at)...)
		lim, limited := r.Limits[n]
		shared := !Extended(n) && !hugePages(n)
		switch {
		case limited && !shared && q.Cmp(lim) != 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", n, lim.String())))
		case limited && shared && q.Cmp(lim) > 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, lim.String())))
		case !limited && !shared:
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
		errs = append(errs, validateHugePages(n, q, at)...)
		note(n)
	}
	if huge && !base {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return append(errs, validateClaimNames(r.Claims, claims, path.Child("claims"))...)
}

func validateHugePages(n corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
	if !hugePages(n) {
		return nil
	}
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(n), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Value() == 0 {
		return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("invalid huge page size: %s", n))}
	}
	if q.MilliValue()%1000 != 0 || q.Value()%size.Value() != 0 {
		return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), n))}
	}
	return nil
}

func validateClaimNames(claims []corev1.ResourceClaim, known []string, path *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, claim := range claims {
		at := path.Index(i)
		if claim.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		id := claim.Name
		if claim.Request != "" {
			errs = append(errs, validate.DNSLabel(claim.Request, at.Child("request"))...)
			id += "/" + claim.Request
		}
		switch {
		case seen[id]:
			errs = append(errs, field.Duplicate(at, id))
		case claim.Request != "" && seen[claim.Name]:
			errs = append(errs, field.Duplicate(at, claim.Name))
		}
		seen[id] = true
		if !slices.Contains(known, claim.Name) {
			err := field.NotFound(at, claim.Name)
			err.Detail = "must be one of the names in pod.spec.resourceClaims which is empty"
			if len(known) > 0 {
				sorted := slices.Sorted(slices.Values(known))
				err.Detail = "must be one of the names in pod.spec.resourceClaims: " + strings.Join(sorted, ", ")
			}
			errs = append(errs, err)
		}
	}
	return errs
}

func (c *checker) checkResizePolicy(policies []corev1.ContainerResizePolicy, path *field.Path) (errs field.ErrorList) {
	seen := map[corev1.ResourceName]bool{}
	for i, p := range policies {
		if p.ResourceName != "" && seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, validate.RequiredEnum(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, validate.RequiredEnum(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
		if c.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

// checkPodResources checks what the pod as a whole asks for.
func (c *checker) checkPodResources(path *field.Path) (errs field.ErrorList) {
	r := c.spec.Resources
	if r == nil {
		return nil
	}
	if c.spec.OS != nil && c.spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(path, "may not be set for a windows pod")}
	}
	if r.Claims != nil {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateRequirements(r, c.claims, path, validatePodResourceName)...)
	total := helpers.AggregateContainerRequests(&corev1.Pod{Spec: *c.spec}, helpers.PodResourcesOptions{})
	for _, n := range slices.Sorted(maps.Keys(r.Requests)) {
		q := r.Requests[n]
		if sum, ok := total[n]; ok && sum.Cmp(q) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(n)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	return append(errs, c.checkLimits(path)...)
}

// checkLimits checks that the containers may not use more than the whole pod:
// all of them together of huge pages, each of anything else.
func (c *checker) checkLimits(path *field.Path) (errs field.ErrorList) {
	limits := c.spec.Resources.Limits
	total := helpers.AggregateContainerLimits(&corev1.Pod{Spec: *c.spec}, helpers.PodResourcesOptions{})
	for _, n := range slices.Sorted(maps.Keys(total)) {
		sum := total[n]
		if q, ok := limits[n]; ok && hugePages(n) && sum.Cmp(q) > 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(n)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String())))
		}
	}
	for i := range c.spec.Containers {
		own := c.spec.Containers[i].Resources.Limits
		for _, n := range slices.Sorted(maps.Keys(own)) {
			lim := own[n]
			if q, ok := limits[n]; ok && lim.Cmp(q) > 0 {
				at := path.Child("containers").Index(i).Key(string(n)).Child("limits")
				errs = append(errs, field.Invalid(at, lim.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", q.String())))
			}
		}
	}
	return errs
}

func validatePodResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	if len(errs) == 0 && !podLevel(name) {
		errs = append(errs, field.NotSupported(path, name, []string{"cpu", "hugepages-", "memory"}))
	}
	return errs
}
