package podspec

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	podDeletionCost  = "controller.kubernetes.io/pod-deletion-cost"
	podSeccomp       = "seccomp.security.alpha.kubernetes.io/pod"
	containerSeccomp = "container.seccomp.security.alpha.kubernetes.io/"
	localSeccomp     = "localhost/"
)

// validatePodAnnotations checks the annotations that mean something on a pod; a
// template may have any of them.
func validatePodAnnotations(p, old *corev1.Pod, path *field.Path) (errs field.ErrorList) {
	if old != nil {
		errs = append(errs, validateFixedAnnotations(p.Annotations, old.Annotations, path)...)
	}
	if mirrored, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; ok && p.Spec.NodeName == "" {
		errs = append(errs, field.Invalid(path.Key(corev1.MirrorPodAnnotationKey), mirrored, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if cost, ok := p.Annotations[podDeletionCost]; ok && !isCost(cost) && (old == nil || hasCost(old)) {
		errs = append(errs, field.Invalid(path.Key(podDeletionCost), cost, "must be a 32bit integer"))
	}
	for _, k := range slices.Sorted(maps.Keys(p.Annotations)) {
		if k == podSeccomp || strings.HasPrefix(k, containerSeccomp) {
			errs = append(errs, validateSeccompName(p.Annotations[k], path.Child(k))...)
		}
	}
	return errs
}

// validateFixedAnnotations refuses a change of what a pod keeps for life.
func validateFixedAnnotations(now, old map[string]string, path *field.Path) (errs field.ErrorList) {
	const mirror, appArmor = "mirror pod annotation", "AppArmor annotations"
	what := func(key string) string {
		switch {
		case key == corev1.MirrorPodAnnotationKey:
			return mirror
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			return appArmor
		}
		return ""
	}
	for _, k := range slices.Sorted(maps.Keys(old)) {
		if v, ok := now[k]; what(k) != "" && (!ok || v != old[k]) {
			errs = append(errs, field.Forbidden(path.Key(k), "may not remove or update "+what(k)))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if _, ok := old[k]; what(k) != "" && !ok {
			errs = append(errs, field.Forbidden(path.Key(k), "may not add "+what(k)))
		}
	}
	return errs
}

// hasCost reports whether the pod has a cost that can be read, or none.
func hasCost(p *corev1.Pod) bool {
	cost, ok := p.Annotations[podDeletionCost]
	return !ok || isCost(cost)
}

// isCost reports whether the text is a 32-bit integer without a plus sign or leading zeros.
func isCost(text string) bool {
	if text == "" || text[0] == '+' || (text[0] == '0' && text != "0") {
		return false
	}
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil
}

func validateSeccompName(name string, path *field.Path) field.ErrorList {
	switch name {
	case "runtime/default", "docker/default", "unconfined":
		return nil
	}
	if file, ok := strings.CutPrefix(name, localSeccomp); ok {
		return validateDescending(file, path)
	}
	return field.ErrorList{field.Invalid(path, name, "must be a valid seccomp profile")}
}
