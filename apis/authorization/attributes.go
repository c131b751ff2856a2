package authorization

import (
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// anyVersion stands for a version that the review leaves out: rules don't care.
const anyVersion = "*"

func attributesFor(u user.Info, in *authorizationv1.ResourceAttributes, url *authorizationv1.NonResourceAttributes) authorizer.AttributesRecord {
	if in == nil {
		out := authorizer.AttributesRecord{User: u}
		if url != nil {
			out.Path, out.Verb = url.Path, url.Verb
		}
		return out
	}
	out := authorizer.AttributesRecord{
		User: u, Verb: in.Verb, Namespace: in.Namespace, APIGroup: in.Group, APIVersion: in.Version,
		Resource: in.Resource, Subresource: in.Subresource, Name: in.Name, ResourceRequest: true,
	}
	if out.APIVersion == "" {
		out.APIVersion = anyVersion
	}
	if s := in.LabelSelector; s != nil {
		out.LabelSelectorRequirements, out.LabelSelectorParsingErr = labelRequirements(s)
	}
	if s := in.FieldSelector; s != nil {
		out.FieldSelectorRequirements, out.FieldSelectorParsingErr = fieldRequirements(s)
	}
	return out
}

// labelRequirements answers those that are understood, and why others aren't:
// leaving a requirement out asks for more than it would, which is safe.
func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s.RawSelector != "" {
		return labels.ParseToRequirements(s.RawSelector)
	}
	var out labels.Requirements
	var errs []error
	operators := map[metav1.LabelSelectorOperator]selection.Operator{
		metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
		metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	for _, r := range s.Requirements {
		op, ok := operators[r.Operator]
		if !ok {
			errs = append(errs, fmt.Errorf("%q is not a valid label selector operator", r.Operator))
			continue
		}
		requirement, err := labels.NewRequirement(r.Key, op, r.Values)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, *requirement)
	}
	return out, errors.Join(errs...)
}

func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	var out fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		op, err := fieldOperator(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, fields.Requirement{Field: r.Key, Operator: op, Value: r.Values[0]})
	}
	return out, errors.Join(errs...)
}

// fieldOperator is the operator of a requirement that field selectors can express.
func fieldOperator(r metav1.FieldSelectorRequirement) (selection.Operator, error) {
	switch {
	case len(r.Values) > 1:
		return "", fmt.Errorf("fieldSelectors do not yet support multiple values")
	case r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1:
		return selection.Equals, nil
	case r.Operator == metav1.FieldSelectorOpNotIn && len(r.Values) == 1:
		return selection.NotEquals, nil
	case r.Operator == metav1.FieldSelectorOpExists || r.Operator == metav1.FieldSelectorOpDoesNotExist:
		return "", fmt.Errorf("fieldSelectors do not yet support %v", r.Operator)
	case r.Operator == metav1.FieldSelectorOpIn || r.Operator == metav1.FieldSelectorOpNotIn:
		return "", fmt.Errorf("fieldSelectors in must have one value")
	}
	return "", fmt.Errorf("%q is not a valid field selector operator", r.Operator)
}

// evaluationError adds to an authorizer's error what of the selectors was not understood.
func evaluationError(err error, attrs authorizer.AttributesRecord) error {
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	if e := attrs.FieldSelectorParsingErr; e != nil {
		errs = append(errs, fmt.Errorf("spec.resourceAttributes.fieldSelector partially ignored due to parse error: %w", e))
	}
	if e := attrs.LabelSelectorParsingErr; e != nil {
		errs = append(errs, fmt.Errorf("spec.resourceAttributes.labelSelector partially ignored due to parse error: %w", e))
	}
	return utilerrors.NewAggregate(errs)
}
