package rbac

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

func roleBindings(g guard) resource.Definition[*rbacv1.RoleBinding] {
	return resource.Definition[*rbacv1.RoleBinding]{
		Resource: group.WithResource("rolebindings"),
		Kind:     "RoleBinding",
		Singular: "rolebinding",
		Object:   &rbacv1.RoleBinding{},
		List:     &rbacv1.RoleBindingList{},
		Register: register,
		Name:     path.ValidatePathSegmentName,
		Default:  func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		Validate: func(_ context.Context, obj, old *rbacv1.RoleBinding) field.ErrorList {
			errs := validateBinding(obj.RoleRef, obj.Subjects, true)
			if old != nil {
				errs = append(errs, validateSameRole(obj.RoleRef, old.RoleRef)...)
			}
			return errs
		},
		Columns: []resource.Column[*rbacv1.RoleBinding]{
			{Name: "Role", Type: "string", Help: "roleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.", Value: func(b *rbacv1.RoleBinding) any { return b.RoleRef.Kind + "/" + b.RoleRef.Name }},
			resource.AgeColumn[*rbacv1.RoleBinding](),
			{Name: "Users", Type: "string", Priority: 1, Help: "Users in the roleBinding", Value: func(b *rbacv1.RoleBinding) any { return subjectsOf(b.Subjects, rbacv1.UserKind) }},
			{Name: "Groups", Type: "string", Priority: 1, Help: "Groups in the roleBinding", Value: func(b *rbacv1.RoleBinding) any { return subjectsOf(b.Subjects, rbacv1.GroupKind) }},
			{Name: "ServiceAccounts", Type: "string", Priority: 1, Help: "ServiceAccounts in the roleBinding", Value: func(b *rbacv1.RoleBinding) any { return subjectsOf(b.Subjects, rbacv1.ServiceAccountKind) }},
		},
		Main: func(e *resource.Endpoint) rest.Storage {
			return guarded[*rbacv1.RoleBinding]{e, g, grantedByRoleBinding}
		},
	}
}

func clusterRoleBindings(g guard) resource.Definition[*rbacv1.ClusterRoleBinding] {
	return resource.Definition[*rbacv1.ClusterRoleBinding]{
		Resource:      group.WithResource("clusterrolebindings"),
		Kind:          "ClusterRoleBinding",
		Singular:      "clusterrolebinding",
		ClusterScoped: true,
		Object:        &rbacv1.ClusterRoleBinding{},
		List:          &rbacv1.ClusterRoleBindingList{},
		Register:      register,
		Name:          path.ValidatePathSegmentName,
		Default:       func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		Validate: func(_ context.Context, obj, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			errs := validateBinding(obj.RoleRef, obj.Subjects, false)
			if old != nil {
				errs = append(errs, validateSameRole(obj.RoleRef, old.RoleRef)...)
			}
			return errs
		},
		Columns: []resource.Column[*rbacv1.ClusterRoleBinding]{
			{Name: "Role", Type: "string", Help: "roleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.", Value: func(b *rbacv1.ClusterRoleBinding) any { return b.RoleRef.Kind + "/" + b.RoleRef.Name }},
			resource.AgeColumn[*rbacv1.ClusterRoleBinding](),
			{Name: "Users", Type: "string", Priority: 1, Help: "Users in the clusterRoleBinding", Value: func(b *rbacv1.ClusterRoleBinding) any { return subjectsOf(b.Subjects, rbacv1.UserKind) }},
			{Name: "Groups", Type: "string", Priority: 1, Help: "Groups in the clusterRoleBinding", Value: func(b *rbacv1.ClusterRoleBinding) any { return subjectsOf(b.Subjects, rbacv1.GroupKind) }},
			{Name: "ServiceAccounts", Type: "string", Priority: 1, Help: "ServiceAccounts in the clusterRoleBinding", Value: func(b *rbacv1.ClusterRoleBinding) any { return subjectsOf(b.Subjects, rbacv1.ServiceAccountKind) }},
		},
		Main: func(e *resource.Endpoint) rest.Storage {
			return guarded[*rbacv1.ClusterRoleBinding]{e, g, grantedByClusterRoleBinding}
		},
	}
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		s := &subjects[i]
		if s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

func validateBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool) (errs field.ErrorList) {
	at := field.NewPath("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	kinds := []string{"ClusterRole"}
	if namespaced {
		kinds = []string{"Role", "ClusterRole"}
	}
	if !slices.Contains(kinds, ref.Kind) {
		errs = append(errs, field.NotSupported(at.Child("kind"), ref.Kind, kinds))
	}
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "").MarkCoveredByDeclarative())
	} else {
		for _, msg := range path.ValidatePathSegmentName(ref.Name, false) {
			errs = append(errs, field.Invalid(at.Child("name"), ref.Name, msg))
		}
	}
	for i, subject := range subjects {
		errs = append(errs, validateSubject(subject, namespaced, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

func validateSubject(s rbacv1.Subject, namespaced bool, at *field.Path) (errs field.ErrorList) {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			for _, msg := range validation.ValidateServiceAccountName(s.Name, false) {
				errs = append(errs, field.Invalid(at.Child("name"), s.Name, msg))
			}
		}
		if s.APIGroup != "" {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{""}))
		}
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		if s.APIGroup != rbacv1.GroupName {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{rbacv1.GroupName}))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
	return errs
}

func validateSameRole(ref, old rbacv1.RoleRef) field.ErrorList {
	if ref == old {
		return nil
	}
	// the message names the fields as the API has always printed them
	shown := struct{ APIGroup, Kind, Name string }(ref)
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), shown, validation.FieldImmutableErrorMsg)}
}

func subjectsOf(subjects []rbacv1.Subject, kind string) string {
	var out []string
	for _, s := range subjects {
		switch {
		case s.Kind != kind:
		case kind == rbacv1.ServiceAccountKind:
			out = append(out, s.Namespace+"/"+s.Name)
		default:
			out = append(out, s.Name)
		}
	}
	return strings.Join(out, ", ")
}
