package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const onlyComputeResources = "only cpu and memory resources are mutable"

// TakeResources copies what a resize may change, the resources and resize
// policies of containers and the resources of the pod itself, from what was
// sent to the pod as it is (KEP-1287, KEP-5419). Containers that were added,
// removed or renamed come along, for ValidateResize to refuse.
func TakeResources(now, sent *corev1.PodSpec) {
	own := now.Resources
	now.Resources = sent.Resources
	now.Containers = takeResources(now.Containers, sent.Containers)
	now.InitContainers = takeResources(now.InitContainers, sent.InitContainers)
	if now.Resources == nil {
		now.Resources = own // a client that doesn't know the field sends none
	}
	DefaultPodResources(now)
}

func takeResources(now, sent []corev1.Container) []corev1.Container {
	if !sameNames(now, sent) {
		return sent
	}
	for i := range now {
		now[i].Resources, now[i].ResizePolicy = sent[i].Resources, sent[i].ResizePolicy
	}
	return now
}

func sameNames(a, b []corev1.Container) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.Container) bool { return x.Name == y.Name })
}

// ValidateResize checks an update of a pod's resources in place.
func ValidateResize(p, old *corev1.Pod) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	errs = append(errs, validatePod(p, nil)...)
	if QOS(&p.Spec) != old.Status.QOSClass {
		errs = append(errs, field.Invalid(spec, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	if !resizesOnNode(old) {
		errs = append(errs, field.Forbidden(spec, "Pod running on node without support for resize"))
	}
	rest := p.Spec.DeepCopy() // without what may change
	if hasPodResources(&old.Spec) || hasPodResources(&p.Spec) {
		errs = append(errs, validatePodResize(rest, old, spec)...)
	}
	if bad := validateOrder(p, old, spec); len(bad) > 0 {
		return append(errs, bad...)
	}
	errs = append(errs, validateKept(p.Spec.InitContainers, old.Spec.InitContainers, spec.Child("initContainers"))...)
	errs = append(errs, validateKept(p.Spec.Containers, old.Spec.Containers, spec.Child("containers"))...)
	errs = append(errs, undoContainers(rest.Containers, old.Spec.Containers, func(int) *field.Error { return field.Forbidden(spec, onlyComputeResources) })...)
	errs = append(errs, undoInitContainers(rest, &old.Spec, spec.Child("initContainers"))...)
	if !equality.Semantic.DeepEqual(rest.Volumes, old.Spec.Volumes) {
		errs = append(errs, field.Forbidden(spec.Child("volumes"), "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled"))
	}
	if len(errs) == 0 && !equality.Semantic.DeepEqual(rest, &old.Spec) {
		errs = append(errs, field.Forbidden(spec, onlyComputeResources))
	}
	return errs
}

func hasPodResources(s *corev1.PodSpec) bool {
	return s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0
}

// resizesOnNode reports whether the pod's node knows how to resize; one that
// runs no container yet is taken to.
func resizesOnNode(p *corev1.Pod) bool {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.State.Running != nil })
	return i < 0 || p.Status.ContainerStatuses[i].Resources != nil
}

// validatePodResize checks the pod's own resources, and undoes their change in rest.
func validatePodResize(rest *corev1.PodSpec, old *corev1.Pod, spec *field.Path) (errs field.ErrorList) {
	before, path := old.Spec.Resources, spec.Child("resources")
	if before != nil && rest.Resources == nil {
		return field.ErrorList{field.Forbidden(path, "pod-level resources cannot be removed")}
	}
	var was corev1.ResourceRequirements
	if before != nil {
		was = *before
		errs = append(errs, validateNoneRemoved(rest.Resources, &was, "pod-level resource", path)...)
	}
	undo(rest.Resources, &was)
	if r := rest.Resources; before == nil && len(r.Requests)+len(r.Limits)+len(r.Claims) == 0 {
		rest.Resources = nil
	}
	if !equality.Semantic.DeepEqual(rest.Resources, before) {
		errs = append(errs, field.Forbidden(spec, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

// validateOrder refuses other containers than before.
func validateOrder(p, old *corev1.Pod, spec *field.Path) (errs field.ErrorList) {
	check := func(list string, now, before []corev1.Container) {
		if len(now) != len(before) {
			errs = append(errs, field.Forbidden(spec.Child(list), list+" may not be added or removed on resize"))
			return
		}
		for i := range now {
			if now[i].Name != before[i].Name {
				errs = append(errs, field.Forbidden(spec.Child(list).Index(i).Child("name"), list+" may not be renamed or reordered on resize"))
			}
		}
	}
	check("containers", p.Spec.Containers, old.Spec.Containers)
	check("initContainers", p.Spec.InitContainers, old.Spec.InitContainers)
	return errs
}

// validateKept refuses that a request or limit is taken away.
func validateKept(now, old []corev1.Container, path *field.Path) (errs field.ErrorList) {
	for i := range now {
		errs = append(errs, validateNoneRemoved(&now[i].Resources, &old[i].Resources, "resource", path.Index(i).Child("resources"))...)
	}
	return errs
}

func validateNoneRemoved(now, old *corev1.ResourceRequirements, what string, at *field.Path) (errs field.ErrorList) {
	if removed(now.Requests, old.Requests) {
		errs = append(errs, field.Forbidden(at.Child("requests"), what+" requests cannot be removed"))
	}
	if removed(now.Limits, old.Limits) {
		errs = append(errs, field.Forbidden(at.Child("limits"), what+" limits cannot be removed"))
	}
	return errs
}

func removed(now, old corev1.ResourceList) bool {
	for name := range old {
		if _, ok := now[name]; !ok {
			return true
		}
	}
	return false
}

// undoContainers takes back what may change, and says where more has.
func undoContainers(now, old []corev1.Container, say func(int) *field.Error) (errs field.ErrorList) {
	for i := range now {
		if undo(&now[i].Resources, &old[i].Resources); !equality.Semantic.DeepEqual(now[i], old[i]) {
			errs = append(errs, say(i))
		}
	}
	return errs
}

func undoInitContainers(rest, old *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	changed := make([]bool, len(rest.InitContainers))
	for i := range changed {
		changed[i] = !equality.Semantic.DeepEqual(rest.InitContainers[i], old.InitContainers[i])
	}
	errs = undoContainers(rest.InitContainers, old.InitContainers, func(i int) *field.Error {
		return field.Forbidden(path.Index(i), "only cpu and memory resources for init or sidecar containers are mutable")
	})
	for i, c := range rest.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		for _, p := range c.ResizePolicy {
			if changed[i] && !sidecar && p.RestartPolicy == corev1.RestartContainer {
				errs = append(errs, field.Forbidden(path.Index(i), "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
			}
		}
	}
	return errs
}

// undo gives requests and limits their CPU and memory of before.
func undo(now, old *corev1.ResourceRequirements) {
	now.Requests, now.Limits = undone(now.Requests, old.Requests), undone(now.Limits, old.Limits)
}

func undone(now, old corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range now {
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
			out[name] = q
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if q, ok := old[name]; ok {
			out[name] = q
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
