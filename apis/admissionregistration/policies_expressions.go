package admissionregistration

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/environment"

	"skiff/apis/validate"
)

const (
	maxAnnotations = 20
	maxValueText   = 5 * 1024
	noItems        = "validations or auditAnnotations must contain at least one item"
)

// scope is what the expressions of one policy are compiled in.
type scope struct {
	compiler plugincel.Compiler
	with     plugincel.OptionalVariableDeclarations
	stored   map[string]bool // expressions the stored policy has already
}

func newScope(params bool, stored map[string]bool, variables []admissionv1.Variable, at *field.Path) (*scope, field.ErrorList) {
	compiler, err := plugincel.NewCompositedCompiler(baseEnvironment())
	if err != nil {
		return nil, field.ErrorList{field.InternalError(at, err)}
	}
	s := &scope{compiler, plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, stored}
	var errs field.ErrorList
	for i, v := range variables {
		errs = append(errs, s.declare(compiler, v, at.Child("variables").Index(i))...)
	}
	return s, errs
}

// declare compiles a variable; those after it may use it.
func (s *scope) declare(compiler *plugincel.CompositedCompiler, v admissionv1.Variable, at *field.Path) (errs field.ErrorList) {
	if v.Name == "" || strings.TrimSpace(v.Name) == "" {
		errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
	} else if !isIdentifier(v.Name) {
		errs = append(errs, field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
	}
	if v.Expression == "" || strings.TrimSpace(v.Expression) == "" {
		return append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	}
	if len(errs) > 0 {
		return errs
	}
	mode := environment.NewExpressions
	if s.stored[v.Expression] {
		mode = environment.StoredExpressions
	}
	result := compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, s.with, mode)
	if result.Error != nil {
		errs = append(errs, expressionError(result.Error, v.Expression, at.Child("expression")))
	}
	return errs
}

// reserved are the words of CEL that can't be names.
func reserved() []string {
	return []string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function",
		"if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
	}
}

func isIdentifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return !slices.Contains(reserved(), name)
}

func (s *scope) check(e plugincel.ExpressionAccessor, at *field.Path) field.ErrorList {
	return check(s.compiler, e, s.with, s.stored[e.GetExpression()], at)
}

func (c expressions) validateValidating(obj, old *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	at, s := field.NewPath("spec"), &obj.Spec
	errs := validateCommon(s.FailurePolicy, s.ParamKind, s.MatchConstraints, at)
	stored := map[string]bool{}
	var conditions []admissionv1.MatchCondition
	if old != nil {
		conditions = old.Spec.MatchConditions
		for _, v := range old.Spec.Variables {
			stored[v.Expression] = true
		}
		for _, v := range old.Spec.Validations {
			stored[v.Expression], stored[v.MessageExpression] = true, true
		}
		for _, a := range old.Spec.AuditAnnotations {
			stored[a.ValueExpression] = true
		}
	}
	if len(s.MatchConditions) > 0 {
		errs = append(errs, validateConditions(c.shared(), s.MatchConditions, conditions, s.ParamKind != nil, at.Child("matchConditions"))...)
	}
	in, more := newScope(s.ParamKind != nil, stored, s.Variables, at)
	errs = append(errs, more...)
	if in == nil {
		return errs
	}
	if len(s.Variables) == 0 { // then there is nothing called variables
		in.compiler = c.shared()
	}
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		errs = append(errs, field.Required(at.Child("validations"), noItems), field.Required(at.Child("auditAnnotations"), noItems))
	}
	for i := range s.Validations {
		errs = append(errs, in.validateValidation(&s.Validations[i], at.Child("validations").Index(i))...)
	}
	return append(errs, in.validateAnnotations(obj.Name, s.AuditAnnotations, at.Child("auditAnnotations"))...)
}

func (s *scope) validateValidation(v *admissionv1.Validation, at *field.Path) (errs field.ErrorList) {
	expression, message := strings.TrimSpace(v.Expression), strings.TrimSpace(v.Message)
	if expression == "" {
		errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	} else {
		errs = append(errs, s.check(&validating.ValidationCondition{Expression: expression, Message: v.Message, Reason: v.Reason}, at.Child("expression"))...)
	}
	if text := strings.TrimSpace(v.MessageExpression); v.MessageExpression != "" && text == "" {
		errs = append(errs, field.Invalid(at.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
	} else if text != "" {
		without := *s
		without.with.HasAuthorizer = false
		errs = append(errs, without.check(&validating.MessageExpressionCondition{MessageExpression: text}, at.Child("messageExpression"))...)
	}
	switch {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.ContainsAny(message, "\n\r"):
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must not contain line breaks"))
	case message == "" && strings.ContainsAny(expression, "\n\r"):
		errs = append(errs, field.Required(at.Child("message"), "message must be specified if expression contains line breaks"))
	}
	if v.Reason != nil {
		errs = append(errs, validate.Enum(*v.Reason, at.Child("reason"), metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)...)
	}
	return errs
}

func (s *scope) validateAnnotations(policy string, list []admissionv1.AuditAnnotation, at *field.Path) (errs field.ErrorList) {
	if len(list) > maxAnnotations {
		errs = append(errs, field.Invalid(at, list, "must not have more than 20 auditAnnotations"))
	}
	keys := map[string]bool{}
	for i, a := range list {
		here := at.Index(i)
		if policy == "" {
			errs = append(errs, field.Invalid(here.Child("key"), a.Key, "requires metadata.name be non-empty"))
		} else {
			// the audit log has the key below the policy's name
			errs = append(errs, validate.QualifiedName(policy+"/"+a.Key, here.Child("key"))...)
		}
		value, text := here.Child("valueExpression"), strings.TrimSpace(a.ValueExpression)
		switch {
		case text == "":
			errs = append(errs, field.Required(value, "valueExpression is not specified"))
		case len(text) > maxValueText:
			errs = append(errs, field.Required(value, "must not exceed 5kB in length"))
		default:
			errs = append(errs, s.check(&validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: text}, value)...)
		}
		if keys[a.Key] {
			errs = append(errs, field.Duplicate(here.Child("key"), a.Key))
		}
		keys[a.Key] = true
	}
	return errs
}

func (c expressions) validateMutating(obj, old *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	at, s := field.NewPath("spec"), &obj.Spec
	errs := validateCommon(s.FailurePolicy, s.ParamKind, s.MatchConstraints, at)
	if s.MatchConstraints != nil {
		errs = append(errs, validateMutable(s.MatchConstraints, at.Child("matchConstraints"))...)
	}
	stored := map[string]bool{}
	var conditions []admissionv1.MatchCondition
	if old != nil {
		conditions = old.Spec.MatchConditions
		for _, v := range old.Spec.Variables {
			stored[v.Expression] = true
		}
		for _, m := range old.Spec.Mutations {
			if m.ApplyConfiguration != nil {
				stored[m.ApplyConfiguration.Expression] = true
			}
			if m.JSONPatch != nil {
				stored[m.JSONPatch.Expression] = true
			}
		}
	}
	if len(s.MatchConditions) > 0 {
		errs = append(errs, validateConditions(c.shared(), s.MatchConditions, conditions, s.ParamKind != nil, at.Child("matchConditions"))...)
	}
	in, more := newScope(s.ParamKind != nil, stored, s.Variables, at)
	errs = append(errs, more...)
	if in == nil {
		return errs
	}
	in.with.HasPatchTypes = true
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range s.Mutations {
		errs = append(errs, in.validateMutation(&s.Mutations[i], at.Child("mutations").Index(i))...)
	}
	return append(errs, validate.RequiredEnum(s.ReinvocationPolicy, at.Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
}

func (s *scope) validateMutation(m *admissionv1.Mutation, at *field.Path) (errs field.ErrorList) {
	patchType, apply, jsonPatch := at.Child("patchType"), at.Child("applyConfiguration"), at.Child("jsonPatch")
	switch m.PatchType {
	case admissionv1.PatchTypeApplyConfiguration:
		if m.JSONPatch != nil {
			errs = append(errs, field.Forbidden(jsonPatch, "must not be specified when patchType is ApplyConfiguration"))
		}
		if m.ApplyConfiguration == nil {
			return append(errs, field.Required(apply, "must be specified when patchType is ApplyConfiguration"))
		}
		return append(errs, s.validatePatch(strings.TrimSpace(m.ApplyConfiguration.Expression), apply.Child("expression"), func(text string) plugincel.ExpressionAccessor {
			return &patch.ApplyConfigurationCondition{Expression: text}
		})...)
	case admissionv1.PatchTypeJSONPatch:
		if m.ApplyConfiguration != nil {
			errs = append(errs, field.Forbidden(apply, "must not be specified when patchType is JSONPatch"))
		}
		if m.JSONPatch == nil {
			return append(errs, field.Required(jsonPatch, "must be specified when patchType is JSONPatch"))
		}
		return append(errs, s.validatePatch(strings.TrimSpace(m.JSONPatch.Expression), jsonPatch.Child("expression"), func(text string) plugincel.ExpressionAccessor {
			return &patch.JSONPatchCondition{Expression: text}
		})...)
	}
	return validate.RequiredEnum(m.PatchType, patchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
}

func (s *scope) validatePatch(text string, at *field.Path, accessor func(string) plugincel.ExpressionAccessor) field.ErrorList {
	if text == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return s.check(accessor(text), at)
}
