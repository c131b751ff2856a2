package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func podTemplates() resource.Resource {
	type template = *corev1.PodTemplate
	return resource.Definition[template]{
		Resource:      corev1.SchemeGroupVersion.WithResource("podtemplates"),
		Kind:          "PodTemplate",
		ReturnDeleted: true,
		Singular:      "podtemplate",
		Object:        &corev1.PodTemplate{},
		List:          &corev1.PodTemplateList{},
		Name:          apivalidation.NameIsDNSSubdomain,
		NameOnce:      true,
		Default:       func(t template) { podspec.SetTemplateDefaults(&t.Template) },
		Prepare: func(_ context.Context, t, old template) {
			if old == nil {
				podspec.DropTemplate(&t.Template, nil)
				return
			}
			podspec.DropTemplate(&t.Template, &old.Template)
		},
		Validate: func(_ context.Context, t, old template) field.ErrorList {
			if old == nil {
				return podspec.ValidateTemplate(&t.Template, nil, field.NewPath("template"))
			}
			return podspec.ValidateTemplate(&t.Template, &old.Template, field.NewPath("template"))
		},
		Warn: func(_ context.Context, t, old template) []string {
			return podspec.OwnerWarnings(t, old, &t.Template, field.NewPath("template"), false)
		},
		Spec: func(t template) any { return &t.Template },
		Columns: []resource.Column[template]{
			{Name: "Containers", Type: "string", Help: "Names of each container in the template.", Value: func(t template) any { names, _ := containersText(&t.Template.Spec); return names }},
			{Name: "Images", Type: "string", Help: "Images referenced by each container in the template.", Value: func(t template) any { _, images := containersText(&t.Template.Spec); return images }},
			{Name: "Pod Labels", Type: "string", Help: "The labels for the pod template.", Value: func(t template) any { return labelsText(t.Template.Labels) }},
			resource.NoAge[template](),
		},
	}
}
