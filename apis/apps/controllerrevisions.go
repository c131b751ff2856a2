package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func controllerRevisions() resource.Definition[*appsv1.ControllerRevision] {
	type R = *appsv1.ControllerRevision
	return resource.Definition[R]{
		Resource: group.WithResource("controllerrevisions"),
		Kind:     "ControllerRevision",
		Singular: "controllerrevision",
		Object:   &appsv1.ControllerRevision{},
		List:     &appsv1.ControllerRevisionList{},
		Register: register,
		Name:     validation.NameIsDNSSubdomain,
		Validate: validateControllerRevision,
		Columns: []resource.Column[R]{
			{Name: "Controller", Type: "string", Help: "Controller of the object", Value: func(r R) any { return ownerOf(r) }},
			{Name: "Revision", Type: "string", Help: appsv1.ControllerRevision{}.SwaggerDoc()["revision"], Value: func(r R) any { return r.Revision }},
		},
	}
}

func ownerOf(r *appsv1.ControllerRevision) string {
	owner := metav1.GetControllerOf(r)
	if owner == nil {
		return "<none>"
	}
	name, gv := owner.Kind, owner.APIVersion
	for i := range gv {
		if gv[i] == '/' {
			name += "." + gv[:i]
			break
		}
	}
	return strings.ToLower(name) + "/" + owner.Name
}

func validateControllerRevision(_ context.Context, obj, old *appsv1.ControllerRevision) (errs field.ErrorList) {
	data := field.NewPath("data")
	errs = append(errs, validate.NonNegative(obj.Revision, field.NewPath("revision"))...)
	if old != nil {
		return append(errs, validation.ValidateImmutableField(obj.Data, old.Data, data)...)
	}
	var v any
	if len(obj.Data.Raw) > 0 {
		if err := json.Unmarshal(obj.Data.Raw, &v); err != nil {
			return append(errs, field.Invalid(data, "<value omitted>", fmt.Sprintf("error parsing data: %v", err)))
		}
	}
	if _, ok := v.(map[string]any); v != nil && !ok {
		errs = append(errs, field.Required(data, "data must be a valid JSON object"))
	} else if v == nil {
		errs = append(errs, field.Required(data, "data is mandatory"))
	}
	return errs
}
