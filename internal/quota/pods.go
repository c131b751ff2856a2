package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	helpers "k8s.io/component-helpers/resource"
	"k8s.io/utils/clock"
)

const requests = corev1.DefaultResourceRequestsPrefix

// podNames are the names that pods are charged under, apart from huge pages and extended resources.
var podNames = []corev1.ResourceName{
	"count/pods", corev1.ResourcePods,
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
}

// mandatory are the names that every container must state once a quota limits them. No later resource joins them.
var mandatory = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// Pods is the meter of pods.
func Pods(c clock.PassiveClock) Meter {
	return Meter{
		Resource: schema.GroupResource{Resource: "pods"},
		Charges:  chargesPods,
		InScope: func(s corev1.ScopedResourceSelectorRequirement, o runtime.Object) (bool, error) {
			pod, err := as[*corev1.Pod](o)
			if err != nil {
				return false, err
			}
			return podInScope(s, pod)
		},
		Usage: func(o runtime.Object) (corev1.ResourceList, error) {
			pod, err := as[*corev1.Pod](o)
			if err != nil {
				return nil, err
			}
			return PodUsage(pod, c.Now()), nil
		},
	}
}

func chargesPods(n corev1.ResourceName) bool {
	return slices.Contains(podNames, n) || strings.HasPrefix(string(n), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(n), corev1.ResourceRequestsHugePagesPrefix) || extendedRequest(n)
}

// extendedRequest says whether the name is requests.<extended resource>.
func extendedRequest(n corev1.ResourceName) bool {
	native := !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix)
	return strings.HasPrefix(string(n), requests) && (!native || strings.HasPrefix(string(n), requests+resourcev1.ResourceDeviceClassPrefix))
}

// extended says whether the name is that of an extended resource, device classes included.
func extended(n corev1.ResourceName) bool {
	s := string(n)
	if strings.HasPrefix(s, resourcev1.ResourceDeviceClassPrefix) {
		return true
	}
	if !strings.Contains(s, "/") || strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) || strings.HasPrefix(s, requests) {
		return false
	}
	return len(validation.IsQualifiedName(requests+s)) == 0
}

// PodUsage is what a pod uses: count/pods as long as it is stored, the rest as long as it may run.
func PodUsage(pod *corev1.Pod, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{"count/pods": one()}
	if !Running(pod, now) {
		return used
	}
	o := helpers.PodResourcesOptions{UseStatusResources: true}
	maps.Copy(used, compute(helpers.PodRequests(pod, o), helpers.PodLimits(pod, o)))
	return used
}

// Running says whether a pod may still run: it hasn't ended, and isn't stuck in deletion beyond its grace period.
func Running(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return true
	}
	grace := time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
	return !now.After(pod.DeletionTimestamp.Add(grace))
}

// compute names what requests and limits are charged under.
func compute(requested, limited corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourcePods: one()}
	for n, q := range requested {
		switch {
		case n == corev1.ResourceCPU, n == corev1.ResourceMemory, n == corev1.ResourceEphemeralStorage, strings.HasPrefix(string(n), corev1.ResourceHugePagesPrefix):
			used[n], used[requests+n] = q, q
		case extended(n):
			used[requests+n] = q
		}
	}
	for n, q := range limited {
		switch n {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			used["limits."+n] = q
		}
	}
	return used
}

// Missing says which of the names that quotas limit the pod's containers must state but don't; nil if none.
func Missing(pod *corev1.Pod, limited []corev1.ResourceName) error {
	if helpers.IsPodLevelResourcesSet(pod) {
		return nil
	}
	var missing []string
	for _, n := range slices.Compact(slices.Sorted(slices.Values(limited))) {
		if !slices.Contains(mandatory, n) {
			continue
		}
		lacking := map[string]bool{}
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			if _, ok := compute(c.Resources.Requests, c.Resources.Limits)[n]; !ok {
				lacking[c.Name] = true
			}
		}
		if len(lacking) > 0 {
			missing = append(missing, fmt.Sprintf("%s for: %s", n, strings.Join(slices.Sorted(maps.Keys(lacking)), ",")))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("must specify %s", strings.Join(missing, "; "))
}

func podInScope(s corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) (bool, error) {
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return Terminating(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !Terminating(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(s, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	}
	return false, nil
}

// Terminating says whether a pod has a deadline.
func Terminating(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

func bestEffort(pod *corev1.Pod) bool {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass == corev1.PodQOSBestEffort
	}
	if r := pod.Spec.Resources; r != nil && (asks(r.Requests) || asks(r.Limits)) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), func(c corev1.Container) bool {
		return asks(c.Resources.Requests) || asks(c.Resources.Limits)
	})
}

// asks says whether CPU or memory is asked for: nothing else tells qualities of service apart.
func asks(l corev1.ResourceList) bool { return !l.Cpu().IsZero() || !l.Memory().IsZero() }

func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	var weighted []corev1.WeightedPodAffinityTerm
	if p := a.PodAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted = append(weighted, p.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted = append(weighted, p.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for _, w := range weighted {
		terms = append(terms, w.PodAffinityTerm)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) != 0 || t.NamespaceSelector != nil })
}

// as answers the object as the type that a meter measures.
func as[T runtime.Object](o runtime.Object) (T, error) {
	t, ok := o.(T)
	if !ok {
		return t, fmt.Errorf("expected %T, got %T", t, o)
	}
	return t, nil
}
