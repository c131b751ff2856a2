package admissionregistration

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

const maxConditions = 64

// expressions compiles CEL. The environment takes a while to build, so it is
// built when the first expression comes.
type expressions struct{ shared func() plugincel.Compiler }

func newExpressions() expressions {
	return expressions{sync.OnceValue(func() plugincel.Compiler { return plugincel.NewCompiler(baseEnvironment()) })}
}

func baseEnvironment() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// check compiles an expression and answers what is wrong with it. What is
// stored already may use what this version no longer offers to new expressions.
func check(c plugincel.Compiler, e plugincel.ExpressionAccessor, with plugincel.OptionalVariableDeclarations, stored bool, at *field.Path) field.ErrorList {
	mode := environment.NewExpressions
	if stored {
		mode = environment.StoredExpressions
	}
	if err := c.CompileCELExpression(e, with, mode).Error; err != nil {
		return field.ErrorList{expressionError(err, e.GetExpression(), at)}
	}
	return nil
}

func expressionError(err error, text string, at *field.Path) *field.Error {
	var e *cel.Error
	if !errors.As(err, &e) {
		return field.InternalError(at, fmt.Errorf("unsupported error type: %w", err))
	}
	switch e.Type {
	case cel.ErrorTypeRequired:
		return field.Required(at, e.Detail)
	case cel.ErrorTypeInvalid:
		return field.Invalid(at, text, e.Detail)
	default:
		return field.InternalError(at, e)
	}
}

// validateConditions checks the conditions under which a hook or policy is asked.
func validateConditions(c plugincel.Compiler, list, stored []admissionv1.MatchCondition, params bool, at *field.Path) (errs field.ErrorList) {
	if len(list) > maxConditions {
		errs = append(errs, field.TooMany(at, len(list), maxConditions))
	}
	known := map[string]bool{}
	for _, m := range stored {
		known[m.Expression] = true
	}
	names := map[string]bool{}
	for i, m := range list {
		here := at.Index(i)
		if text := strings.TrimSpace(m.Expression); text == "" {
			errs = append(errs, field.Required(here.Child("expression"), ""))
		} else {
			with := plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}
			condition := &matchconditions.MatchCondition{Name: m.Name, Expression: text}
			errs = append(errs, check(c, condition, with, known[m.Expression], here.Child("expression"))...)
		}
		if m.Name == "" {
			errs = append(errs, field.Required(here.Child("name"), ""))
			continue
		}
		errs = append(errs, metavalidation.ValidateLabelName(m.Name, here.Child("name"))...)
		if names[m.Name] {
			errs = append(errs, field.Duplicate(here.Child("name"), m.Name))
		}
		names[m.Name] = true
	}
	return errs
}
