package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidatePod checks a new pod, whose metadata was checked as any object's.
func ValidatePod(p *corev1.Pod) (errs field.ErrorList) {
	errs, spec := validatePod(p, nil), field.NewPath("spec")
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

func validatePod(p, old *corev1.Pod) (errs field.ErrorList) {
	annotations := field.NewPath("metadata", "annotations")
	errs = append(errs, validateAnnotations(p.Annotations, &p.Spec, annotations)...)
	errs = append(errs, validatePodAnnotations(p, old, annotations)...)
	var before *corev1.PodSpec
	if old != nil {
		before = &old.Spec
	}
	c := newChecker(&p.Spec, before)
	c.pod = true
	path := field.NewPath("spec")
	errs = append(errs, c.check(path)...)
	if p.Spec.ServiceAccountName != "" {
		return errs
	}
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Projected == nil {
			continue
		}
		for j, s := range p.Spec.Volumes[i].Projected.Sources {
			if s.ServiceAccountToken != nil {
				errs = append(errs, field.Forbidden(path.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"), "must not be specified when serviceAccountName is not set"))
			}
		}
	}
	return errs
}

// validateAnnotations checks the AppArmor annotations, which came before the fields.
func validateAnnotations(annotations map[string]string, s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	names := map[string]bool{}
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) { names[c.Name] = true })
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(k, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if !ok {
			continue
		}
		if !names[name] {
			errs = append(errs, field.Invalid(path.Key(k), name, "container not found"))
		}
		if v := annotations[k]; v != "" && v != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault && v != corev1.DeprecatedAppArmorBetaProfileNameUnconfined && !strings.HasPrefix(v, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
			errs = append(errs, field.Invalid(path.Key(k), v, fmt.Sprintf("invalid AppArmor profile name: %q", v)))
		}
	}
	return errs
}
