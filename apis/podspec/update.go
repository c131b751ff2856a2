package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/same"
)

const fixedSpec = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n%s"

// ValidatePodUpdate checks an update of a pod, whose spec is all but fixed.
func ValidatePodUpdate(p, old *corev1.Pod) (errs field.ErrorList) {
	errs = append(errs, validatePod(p, old)...)
	spec := field.NewPath("spec")
	const count = "pod updates may not add or remove containers"
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(spec.Child("containers"), count))
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(spec.Child("initContainers"), count))
	}
	bad := validateDeadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds"))
	errs = append(errs, bad...)
	if len(bad) > 0 && p.Spec.ActiveDeadlineSeconds != nil {
		return errs
	}
	errs = append(errs, validateTolerationsUpdate(p.Spec.Tolerations, old.Spec.Tolerations, spec.Child("tolerations"))...)
	errs = append(errs, validateGatesUpdate(p.Spec.SchedulingGates, old.Spec.SchedulingGates, spec.Child("schedulingGates"))...)
	allowed := allowedUpdate(p, old)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, takeGated(allowed, &p.Spec, &old.Spec, spec)...)
	}
	if !same.Meaning(allowed, &old.Spec) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf(fixedSpec, Diff(old.Spec, *allowed))))
	}
	return errs
}

// allowedUpdate is the new spec with every allowed change undone.
func allowedUpdate(p, old *corev1.Pod) *corev1.PodSpec {
	s := p.Spec.DeepCopy()
	for i := range s.Containers {
		s.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range s.InitContainers {
		s.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	if len(s.InitContainers) == 0 {
		s.InitContainers = nil
	}
	s.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	s.SchedulingGates = old.Spec.SchedulingGates
	s.Tolerations = old.Spec.Tolerations
	if g := old.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 && s.TerminationGracePeriodSeconds != nil && *s.TerminationGracePeriodSeconds == 1 {
		s.TerminationGracePeriodSeconds = g
	}
	return s
}

func validateDeadlineUpdate(now, old *int64, path *field.Path) field.ErrorList {
	switch {
	case now != nil && (*now < 0 || *now > 1<<31-1):
		return field.ErrorList{field.Invalid(path, *now, validation.InclusiveRangeError(0, 1<<31-1))}
	case now != nil && old != nil && *now > *old:
		return field.ErrorList{field.Invalid(path, *now, "must be less than or equal to previous value")}
	case now == nil && old != nil:
		return field.ErrorList{field.Invalid(path, now, "must not update from a positive integer to nil value")}
	}
	return nil
}

// validateTolerationsUpdate lets tolerations be added, and their seconds change.
func validateTolerationsUpdate(now, old []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, o := range old {
		o.TolerationSeconds = nil
		found := false
		for _, n := range now {
			n.TolerationSeconds = nil
			found = found || equality.Semantic.DeepEqual(o, n)
		}
		if !found {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return ValidateTolerations(now, path)
}

func validateGatesUpdate(now, old []corev1.PodSchedulingGate, path *field.Path) (errs field.ErrorList) {
	had := map[string]bool{}
	for _, g := range old {
		had[g.Name] = true
	}
	for i, g := range now {
		if !had[g.Name] {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
	return errs
}

// takeGated undoes what may change while a pod waits at a scheduling gate: its
// node selector and required node affinity can become narrower.
func takeGated(allowed, now, old *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for k, v := range old.NodeSelector {
		if now.NodeSelector[k] != v {
			errs = append(errs, field.Invalid(path.Child("nodeSelector"), now.NodeSelector, "only additions are allowed"))
			break
		}
	}
	if len(errs) == 0 {
		allowed.NodeSelector = old.NodeSelector
	}
	before, after := nodeAffinityOf(old), nodeAffinityOf(now)
	if equality.Semantic.DeepEqual(before, after) || after == nil {
		return errs
	}
	if bad := narrower(after, before, path.Child("affinity", "nodeAffinity")); len(bad) > 0 {
		return append(errs, bad...)
	}
	switch {
	case old.Affinity == nil && onlyNodeAffinity(allowed.Affinity):
		allowed.Affinity = nil
	case allowed.Affinity != nil:
		allowed.Affinity.NodeAffinity = before
	}
	return errs
}

func nodeAffinityOf(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

func onlyNodeAffinity(a *corev1.Affinity) bool {
	return a != nil && a.PodAffinity == nil && a.PodAntiAffinity == nil
}

// narrower checks that every required term of old is there still, at most with
// further requirements.
func narrower(now, old *corev1.NodeAffinity, path *field.Path) (errs field.ErrorList) {
	if old == nil || old.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	at := path.Child("requiredDuringSchedulingIgnoredDuringExecution")
	was := old.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	req := now.RequiredDuringSchedulingIgnoredDuringExecution
	if req == nil || len(req.NodeSelectorTerms) != len(was) {
		return append(errs, field.Invalid(at.Child("nodeSelectorTerms"), req, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
	}
	for i, t := range req.NodeSelectorTerms {
		if !prefixOf(was[i].MatchExpressions, t.MatchExpressions) || !prefixOf(was[i].MatchFields, t.MatchFields) {
			errs = append(errs, field.Invalid(at.Index(i), t, "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func prefixOf(old, now []corev1.NodeSelectorRequirement) bool {
	return len(old) <= len(now) && equality.Semantic.DeepEqual(old, now[:len(old)])
}
