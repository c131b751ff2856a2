package core

import (
	"context"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff/apis/podspec"
	"skiff/apis/resource"
	"skiff/apis/validate"
)

func replicationControllers() resource.Resource {
	type rc = *corev1.ReplicationController
	scale := resource.Scale[rc]{
		Paths:    map[string]fieldpath.Path{"v1": fieldpath.MakePathOrDie("spec", "replicas")},
		Replicas: func(c rc) *int32 { return c.Spec.Replicas },
		Status: func(c rc) (int32, string) {
			return c.Status.Replicas, labels.SelectorFromSet(c.Spec.Selector).String()
		},
	}
	return resource.Definition[rc]{
		Resource:   corev1.SchemeGroupVersion.WithResource("replicationcontrollers"),
		Kind:       "ReplicationController",
		Singular:   "replicationcontroller",
		ShortNames: []string{"rc"},
		Categories: []string{"all"},
		Object:     &corev1.ReplicationController{},
		List:       &corev1.ReplicationControllerList{},
		Types:      resource.ScaleTypes(),
		Name:       apivalidation.NameIsDNSSubdomain,
		NameOnce:   true,
		Default:    defaultReplicationController,
		Prepare:    prepareReplicationController,
		Validate:   validateReplicationController,
		Warn: func(_ context.Context, obj, old rc) []string {
			return podspec.OwnerWarnings(obj, old, obj.Spec.Template, field.NewPath("spec", "template"), true)
		},
		Spec:           func(c rc) any { return &c.Spec },
		Status:         func(c rc) any { return &c.Status },
		ValidateStatus: validateReplicationControllerStatus,
		Fields: func(c rc) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(c.Status.Replicas))}
		},
		Collect: rest.OrphanDependents,
		Columns: replicationControllerColumns(),
		Subresources: map[string]func(*registry.Store) rest.Storage{
			"scale": scale.Endpoint,
		},
	}
}

func replicationControllerColumns() []resource.Column[*corev1.ReplicationController] {
	type rc = *corev1.ReplicationController
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	of := func(c rc) *corev1.PodSpec {
		if c.Spec.Template == nil {
			return &corev1.PodSpec{}
		}
		return &c.Spec.Template.Spec
	}
	return []resource.Column[rc]{
		{Name: "Desired", Type: "integer", Help: spec["replicas"], Value: func(c rc) any { return int64(*c.Spec.Replicas) }},
		{Name: "Current", Type: "integer", Help: status["replicas"], Value: func(c rc) any { return int64(c.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Help: status["readyReplicas"], Value: func(c rc) any { return int64(c.Status.ReadyReplicas) }},
		resource.AgeColumn[rc](),
		{Name: "Containers", Type: "string", Priority: 1, Help: "Names of each container in the template.", Value: func(c rc) any { names, _ := containersText(of(c)); return names }},
		{Name: "Images", Type: "string", Priority: 1, Help: "Images referenced by each container in the template.", Value: func(c rc) any { _, images := containersText(of(c)); return images }},
		{Name: "Selector", Type: "string", Priority: 1, Help: spec["selector"], Value: func(c rc) any { return labelsText(c.Spec.Selector) }},
	}
}

// defaultReplicationController takes the template's labels for the selector
// and for the controller itself where they have none.
func defaultReplicationController(c *corev1.ReplicationController) {
	if t := c.Spec.Template; t != nil {
		podspec.SetTemplateDefaults(t)
		if len(t.Labels) > 0 {
			if len(c.Spec.Selector) == 0 {
				c.Spec.Selector = maps.Clone(t.Labels)
			}
			if len(c.Labels) == 0 {
				c.Labels = maps.Clone(t.Labels)
			}
		}
	}
	if c.Spec.Replicas == nil {
		one := int32(1)
		c.Spec.Replicas = &one
	}
}

func prepareReplicationController(_ context.Context, c, old *corev1.ReplicationController) {
	if c.Spec.Template == nil {
		return
	}
	if old == nil {
		podspec.DropTemplate(c.Spec.Template, nil)
		return
	}
	podspec.DropTemplate(c.Spec.Template, old.Spec.Template)
}

func validateReplicationController(_ context.Context, c, old *corev1.ReplicationController) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, validate.NonNegative(c.Spec.MinReadySeconds, spec.Child("minReadySeconds")).MarkCoveredByDeclarative()...)
	if len(c.Spec.Selector) == 0 {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	}
	if c.Spec.Replicas == nil {
		errs = append(errs, field.Required(spec.Child("replicas"), "").MarkCoveredByDeclarative())
	} else {
		errs = append(errs, validate.NonNegative(*c.Spec.Replicas, spec.Child("replicas")).MarkCoveredByDeclarative()...)
	}
	path := spec.Child("template")
	t := c.Spec.Template
	if t == nil {
		return append(errs, field.Required(path, ""))
	}
	if len(c.Spec.Selector) > 0 && !labels.SelectorFromSet(c.Spec.Selector).Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	var before *corev1.PodTemplateSpec
	if old != nil {
		before = old.Spec.Template
	}
	errs = append(errs, podspec.ValidateTemplate(t, before, path)...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported"))
	}
	return errs
}

func validateReplicationControllerStatus(_ context.Context, c, _ *corev1.ReplicationController) (errs field.ErrorList) {
	path, s := field.NewPath("status"), c.Status
	errs = append(errs, validate.NonNegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, validate.NonNegative(s.FullyLabeledReplicas, path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, validate.NonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, validate.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	for _, n := range []struct {
		name  string
		value int32
		above bool
		than  string
	}{
		{"fullyLabeledReplicas", s.FullyLabeledReplicas, s.FullyLabeledReplicas > s.Replicas, "status.replicas"},
		{"readyReplicas", s.ReadyReplicas, s.ReadyReplicas > s.Replicas, "status.replicas"},
		{"availableReplicas", s.AvailableReplicas, s.AvailableReplicas > s.Replicas, "status.replicas"},
		{"availableReplicas", s.AvailableReplicas, s.AvailableReplicas > s.ReadyReplicas, "readyReplicas"},
	} {
		if n.above {
			errs = append(errs, field.Invalid(path.Child(n.name), n.value, "cannot be greater than "+n.than))
		}
	}
	return errs
}
