package apps

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
)

// prepareTemplate is run before a template is validated; old is nil on create.
func prepareTemplate(template, old *corev1.PodTemplateSpec) { podspec.DropTemplate(template, old) }

// validateTemplate checks the template of pods that are to run for ever.
func (w workload) validateTemplate(at *field.Path) (errs field.ErrorList) {
	errs = podspec.ValidateTemplate(w.template, w.old, at)
	spec := at.Child("spec")
	if p := w.template.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(spec.Child("restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if w.template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(spec.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in "+w.owner()+" is not Supported"))
	}
	return errs
}

// owner is the kind as the message about deadlines names it.
func (w workload) owner() string {
	switch w.kind {
	case "daemonset":
		return "DaemonSet"
	case "statefulset":
		return "StatefulSet"
	}
	return "ReplicaSet"
}
