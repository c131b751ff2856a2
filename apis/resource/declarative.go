package resource

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

var _ rest.DeclarativeValidationStrategy = &strategy[Object]{}

// DeclarativeValidationConfig says which options the declared rules of the
// kind may ask for.
func (s *strategy[T]) DeclarativeValidationConfig(context.Context, runtime.Object, runtime.Object) rest.DeclarativeValidationConfig {
	return rest.DeclarativeValidationConfig{Options: s.def.Gates, NormalizationRules: s.def.Normalize}
}

// ValidateDeclaratively adds the errors of the rules that the kind's type
// declares in k8s.io/api (registered with the scheme from apis/declarative) to
// errs, less the ones that they replace. A kind with no such rules keeps errs.
func (s *strategy[T]) ValidateDeclaratively(ctx context.Context, obj, oldObj runtime.Object, errs field.ErrorList, op operation.Type, config rest.DeclarativeValidationConfig) field.ErrorList {
	scheme, ok := s.ObjectTyper.(*runtime.Scheme)
	if !ok {
		return errs
	}
	declared, err := s.declared(ctx, scheme, obj, oldObj, op, config)
	if err != nil {
		return append(errs, field.InternalError(nil, err))
	}
	enforced := validate.FilterEnforcedDeclarativeErrors(ctx, declared, true)
	errs = errs.MarkFromImperative()
	errs = validate.FilterCoveredHandwrittenErrors(ctx, errs, enforced, true, config.NormalizationRules...)
	return append(errs, enforced...)
}

func (s *strategy[T]) declared(ctx context.Context, scheme *runtime.Scheme, obj, old runtime.Object, op operation.Type, config rest.DeclarativeValidationConfig) (field.ErrorList, error) {
	var subresources []string
	gv := s.def.Resource.GroupVersion()
	if info, ok := genericrequest.RequestInfoFrom(ctx); ok {
		if info.APIGroup == gv.Group && info.APIVersion != "" {
			gv.Version = info.APIVersion
		}
		// of the subresources only some have the parent as their body
		if info.Subresource == "status" || info.Subresource == "approval" || info.Subresource == "resize" || info.Subresource == "ephemeralcontainers" {
			subresources = []string{info.Subresource}
		}
	}
	obj, err := s.versioned(scheme, obj, gv)
	if err != nil {
		return nil, err
	}
	if op == operation.Create {
		return scheme.Validate(ctx, config.Options, obj, subresources...), nil
	}
	if old, err = s.versioned(scheme, old, gv); err != nil {
		return nil, err
	}
	return scheme.ValidateUpdate(ctx, config.Options, obj, old, subresources...), nil
}

// versioned is obj in the version whose rules apply; it is obj itself where the
// hub type is the versioned one.
func (s *strategy[T]) versioned(scheme *runtime.Scheme, obj runtime.Object, gv schema.GroupVersion) (runtime.Object, error) {
	if len(s.def.Versions) == 0 {
		return obj, nil
	}
	out, err := scheme.ConvertToVersion(obj, gv)
	if err != nil {
		return nil, fmt.Errorf("converting %s to %s: %w", s.def.Kind, gv, err)
	}
	return out, nil
}
