package limitranger

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// usage is what one pod, container or claim asks for.
type usage struct {
	kind             corev1.LimitType
	requests, limits corev1.ResourceList
}

func checkPod(pod *corev1.Pod, r *corev1.LimitRange) []error {
	var errs []error
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		switch item.Type {
		case corev1.LimitTypeContainer:
			for j := range pod.Spec.Containers {
				errs = append(errs, bounds(ofContainer(&pod.Spec.Containers[j]), item)...)
			}
			for j := range pod.Spec.InitContainers {
				errs = append(errs, bounds(ofContainer(&pod.Spec.InitContainers[j]), item)...)
			}
		case corev1.LimitTypePod:
			options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
			errs = append(errs, bounds(usage{item.Type, resourcehelper.PodRequests(pod, options), podLimits(pod, options)}, item)...)
		}
	}
	return errs
}

// podLimits leaves out a resource that some container doesn't limit: the pod as
// a whole is then without a limit.
func podLimits(pod *corev1.Pod, options resourcehelper.PodResourcesOptions) corev1.ResourceList {
	limits := resourcehelper.PodLimits(pod, options)
	if pod.Spec.Resources != nil {
		return limits
	}
	for name := range limits {
		for i := range pod.Spec.Containers {
			if _, ok := pod.Spec.Containers[i].Resources.Limits[name]; !ok {
				delete(limits, name)
				break
			}
		}
	}
	return limits
}

func ofContainer(c *corev1.Container) usage {
	return usage{corev1.LimitTypeContainer, c.Resources.Requests, c.Resources.Limits}
}

func bounds(u usage, item *corev1.LimitRangeItem) []error {
	var errs []error
	each(item.Min, func(name corev1.ResourceName, q resource.Quantity) { errs = appendErr(errs, u.min(name, q)) })
	each(item.Max, func(name corev1.ResourceName, q resource.Quantity) { errs = appendErr(errs, u.max(name, q)) })
	each(item.MaxLimitRequestRatio, func(name corev1.ResourceName, q resource.Quantity) { errs = appendErr(errs, u.ratio(name, q)) })
	return errs
}

func each(list corev1.ResourceList, fn func(corev1.ResourceName, resource.Quantity)) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		fn(name, list[name])
	}
}

func appendErr(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

func (u usage) min(name corev1.ResourceName, enforced resource.Quantity) error {
	request, ok := u.requests[name]
	if !ok {
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, u.kind, enforced.String())
	}
	if request.Cmp(enforced) < 0 {
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, u.kind, enforced.String(), request.String())
	}
	if limit, ok := u.limits[name]; ok && limit.Cmp(enforced) < 0 {
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, u.kind, enforced.String(), limit.String())
	}
	return nil
}

func (u usage) max(name corev1.ResourceName, enforced resource.Quantity) error {
	limit, ok := u.limits[name]
	if !ok {
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, u.kind, enforced.String())
	}
	if limit.Cmp(enforced) > 0 {
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, u.kind, enforced.String(), limit.String())
	}
	if request, ok := u.requests[name]; ok && request.Cmp(enforced) > 0 {
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, u.kind, enforced.String(), request.String())
	}
	return nil
}

func (u usage) ratio(name corev1.ResourceName, enforced resource.Quantity) error {
	request, limit := u.requests[name], u.limits[name]
	if request.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, u.kind, enforced.String())
	}
	if limit.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, u.kind, enforced.String())
	}
	if r := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); r > enforced.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, u.kind, enforced.String(), r)
	}
	return nil
}

// checkClaim bounds what a claim requests; claims have no limits that count.
func checkClaim(claim *corev1.PersistentVolumeClaim, r *corev1.LimitRange) []error {
	var errs []error
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		u := usage{item.Type, claim.Spec.Resources.Requests, claim.Spec.Resources.Requests}
		each(item.Min, func(name corev1.ResourceName, q resource.Quantity) { errs = appendErr(errs, u.min(name, q)) })
		each(item.Max, func(name corev1.ResourceName, q resource.Quantity) { errs = appendErr(errs, u.maxRequest(name, q)) })
	}
	return errs
}

func (u usage) maxRequest(name corev1.ResourceName, enforced resource.Quantity) error {
	request, ok := u.requests[name]
	if !ok {
		return fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, u.kind, enforced.String())
	}
	if request.Cmp(enforced) > 0 {
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, u.kind, enforced.String(), request.String())
	}
	return nil
}
