package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *checker) checkEphemeralContainers(path *field.Path) (errs field.ErrorList) {
	names, others := map[string]bool{}, map[string]bool{}
	for _, ctr := range c.spec.Containers {
		names[ctr.Name], others[ctr.Name] = true, true
	}
	for _, ctr := range c.spec.InitContainers {
		names[ctr.Name], others[ctr.Name] = true, true
	}
	for i := range c.spec.EphemeralContainers {
		e, at := &c.spec.EphemeralContainers[i], path.Index(i)
		ctr := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, c.checkContainer(&ctr, at)...)
		if ctr.Name != "" {
			if names[ctr.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), ctr.Name))
			}
			names[ctr.Name] = true
		}
		errs = append(errs, forbidOfEphemeral(&ctr, at)...)
		if e.TargetContainerName != "" && !others[e.TargetContainerName] {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), e.TargetContainerName))
		}
		for j, m := range ctr.VolumeMounts {
			mount := at.Child("volumeMounts").Index(j)
			if m.SubPath != "" {
				errs = append(errs, field.Forbidden(mount.Child("subPath"), "cannot be set for an Ephemeral Container"))
			}
			if m.SubPathExpr != "" {
				errs = append(errs, field.Forbidden(mount.Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
			}
		}
	}
	return errs
}

// forbidOfEphemeral refuses what only containers planned with the pod may have.
func forbidOfEphemeral(ctr *corev1.Container, at *field.Path) (errs field.ErrorList) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ports", len(ctr.Ports) > 0},
		{"resources", !equality.Semantic.DeepEqual(ctr.Resources, corev1.ResourceRequirements{})},
		{"resizePolicy", len(ctr.ResizePolicy) > 0},
		{"restartPolicy", ctr.RestartPolicy != nil},
		{"restartPolicyRules", len(ctr.RestartPolicyRules) > 0},
		{"livenessProbe", ctr.LivenessProbe != nil},
		{"readinessProbe", ctr.ReadinessProbe != nil},
		{"startupProbe", ctr.StartupProbe != nil},
		{"lifecycle", ctr.Lifecycle != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set for an Ephemeral Container"))
		}
	}
	return errs
}

// ValidateEphemeralUpdate checks an update of a pod's ephemeral containers:
// they can be added, and nothing else.
func ValidateEphemeralUpdate(p, old *corev1.Pod) (errs field.ErrorList) {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	errs = append(errs, validatePod(p, old)...)
	path := field.NewPath("spec", "ephemeralContainers")
	now := map[string]*corev1.EphemeralContainer{}
	for i := range p.Spec.EphemeralContainers {
		now[p.Spec.EphemeralContainers[i].Name] = &p.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		before := &old.Spec.EphemeralContainers[i]
		switch after, ok := now[before.Name]; {
		case !ok:
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", before.Name)))
		case !equality.Semantic.DeepEqual(before, after):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", before.Name, Diff(*before, *after))))
		}
	}
	return errs
}
