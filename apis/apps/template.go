package apps

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
)

// workload is what the kinds that run pods from a template have in common.
type workload struct {
	kind          string // as messages write it
	selector      *metav1.LabelSelector
	template, old *corev1.PodTemplateSpec // old is nil on create
	badSelector   string                  // the message for a selector that can't be parsed
}

// validateSelector checks that the selector selects something.
func (w workload) validateSelector(at *field.Path) (errs field.ErrorList) {
	if w.selector == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs = metavalidation.ValidateLabelSelector(w.selector, metavalidation.LabelSelectorValidationOptions{}, at)
	if len(w.selector.MatchLabels)+len(w.selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, w.selector, "empty selector is invalid for "+w.kind))
	}
	return errs
}

// validateMatch checks that the template's pods are the selected ones, and the
// template itself where they are.
func (w workload) validateMatch(spec *field.Path) (errs field.ErrorList) {
	selector, err := metav1.LabelSelectorAsSelector(w.selector)
	if err != nil {
		return field.ErrorList{field.Invalid(spec.Child("selector"), w.selector, w.badSelector)}
	}
	errs = w.validateLabels(selector, spec.Child("template"))
	return append(errs, w.validateTemplate(spec.Child("template"))...)
}

func (w workload) validateLabels(selector labels.Selector, at *field.Path) field.ErrorList {
	if selector.Empty() || selector.Matches(labels.Set(w.template.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("metadata", "labels"), w.template.Labels, "`selector` does not match template `labels`")}
}

// containerColumns are the columns -o wide adds for a pod template.
func containerColumns[T resource.Object](template func(T) *corev1.PodTemplateSpec) []resource.Column[T] {
	list := func(value func(corev1.Container) string) func(T) any {
		return func(obj T) any {
			var out []string
			for _, c := range template(obj).Spec.Containers {
				out = append(out, value(c))
			}
			return strings.Join(out, ",")
		}
	}
	return []resource.Column[T]{
		{Name: "Containers", Type: "string", Priority: 1, Help: "Names of each container in the template.", Value: list(func(c corev1.Container) string { return c.Name })},
		{Name: "Images", Type: "string", Priority: 1, Help: "Images referenced by each container in the template.", Value: list(func(c corev1.Container) string { return c.Image })},
	}
}
