package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
)

// prepareTemplate is run before a template is validated; old is nil on create.
func prepareTemplate(template, old *corev1.PodTemplateSpec) { podspec.DropTemplate(template, old) }

// validateTemplate checks the template of pods that are to end.
func validateTemplate(s *batchv1.JobSpec, old *corev1.PodTemplateSpec, at *field.Path) (errs field.ErrorList) {
	errs = podspec.ValidateTemplate(&s.Template, old, at)
	ends := []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	policy := at.Child("spec", "restartPolicy")
	switch p := s.Template.Spec.RestartPolicy; {
	case p == "" || p == corev1.RestartPolicyAlways: // what an absent one is defaulted to
		errs = append(errs, field.Required(policy, `valid values: "OnFailure", "Never"`))
	case p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever:
		errs = append(errs, field.NotSupported(policy, p, ends))
	case s.PodFailurePolicy != nil && p != corev1.RestartPolicyNever:
		errs = append(errs, field.Invalid(policy, p, `only "Never" is supported when podFailurePolicy is specified`))
	}
	return errs
}
