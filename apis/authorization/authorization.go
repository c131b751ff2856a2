// Package authorization defines the resources of the authorization.k8s.io API
// group: reviews that are answered and never stored.
package authorization

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"skiff/apis/resource"
)

// Deps is what the group needs from the server.
type Deps struct {
	Authorizer authorizer.UnconditionalAuthorizer
	Rules      authorizer.RuleResolver
}

var group = authorizationv1.SchemeGroupVersion

// Resources lists what the group serves.
func Resources(deps Deps) []resource.Resource {
	return []resource.Resource{
		resource.Review[*authorizationv1.LocalSubjectAccessReview]{
			Resource: group.WithResource("localsubjectaccessreviews"),
			Kind:     "LocalSubjectAccessReview",
			Singular: "localsubjectaccessreview",
			Object:   &authorizationv1.LocalSubjectAccessReview{},
			Answer:   deps.reviewLocal,
		},
		resource.Review[*authorizationv1.SelfSubjectAccessReview]{
			Resource:      group.WithResource("selfsubjectaccessreviews"),
			Kind:          "SelfSubjectAccessReview",
			Singular:      "selfsubjectaccessreview",
			ClusterScoped: true,
			Object:        &authorizationv1.SelfSubjectAccessReview{},
			Answer:        deps.reviewSelf,
		},
		resource.Review[*authorizationv1.SelfSubjectRulesReview]{
			Resource:      group.WithResource("selfsubjectrulesreviews"),
			Kind:          "SelfSubjectRulesReview",
			Singular:      "selfsubjectrulesreview",
			ClusterScoped: true,
			Object:        &authorizationv1.SelfSubjectRulesReview{},
			Answer:        deps.reviewRules,
		},
		resource.Review[*authorizationv1.SubjectAccessReview]{
			Resource:      group.WithResource("subjectaccessreviews"),
			Kind:          "SubjectAccessReview",
			Singular:      "subjectaccessreview",
			ClusterScoped: true,
			Object:        &authorizationv1.SubjectAccessReview{},
			Answer:        deps.review,
		},
	}
}

func (d Deps) review(ctx context.Context, r *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	if errs := validateReview(r); len(errs) > 0 {
		return nil, invalid(errs)
	}
	r.Status = d.decide(ctx, attributesOf(&r.Spec))
	return r, nil
}

func (d Deps) reviewLocal(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview) (*authorizationv1.LocalSubjectAccessReview, error) {
	if errs := validateLocal(r); len(errs) > 0 {
		return nil, invalid(errs)
	}
	if namespace, _ := genericrequest.NamespaceFrom(ctx); namespace == "" {
		return nil, apierrors.NewBadRequest("namespace is required on this type: " + namespace)
	} else if namespace != r.Namespace {
		return nil, apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + namespace)
	}
	r.Status = d.decide(ctx, attributesOf(&r.Spec))
	return r, nil
}

func (d Deps) reviewSelf(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview) (*authorizationv1.SelfSubjectAccessReview, error) {
	if errs := validateSelf(r); len(errs) > 0 {
		return nil, invalid(errs)
	}
	u, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	r.Status = d.decide(ctx, attributesFor(u, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes))
	return r, nil
}

func (d Deps) reviewRules(ctx context.Context, r *authorizationv1.SelfSubjectRulesReview) (*authorizationv1.SelfSubjectRulesReview, error) {
	u, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	if r.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	resources, urls, incomplete, err := d.Rules.RulesFor(ctx, u, r.Spec.Namespace)
	out := &authorizationv1.SelfSubjectRulesReview{} // the answer doesn't repeat the question
	out.Status = authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    []authorizationv1.ResourceRule{},
		NonResourceRules: []authorizationv1.NonResourceRule{},
		Incomplete:       incomplete,
	}
	for _, rule := range resources {
		out.Status.ResourceRules = append(out.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range urls {
		out.Status.NonResourceRules = append(out.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	if err != nil {
		out.Status.EvaluationError = err.Error()
	}
	return out, nil
}

// decide asks the authorizer; what could not be evaluated is part of the answer.
func (d Deps) decide(ctx context.Context, attrs authorizer.AttributesRecord) authorizationv1.SubjectAccessReviewStatus {
	decision, reason, err := d.Authorizer.Authorize(ctx, attrs)
	out := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow,
		Denied:  decision == authorizer.DecisionDeny,
		Reason:  reason,
	}
	if err := evaluationError(err, attrs); err != nil {
		out.EvaluationError = err.Error()
	}
	return out
}

// invalid is the refusal of a review; a review has neither kind nor name here.
func invalid(errs field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: group.Group}, "", errs)
}

func attributesOf(s *authorizationv1.SubjectAccessReviewSpec) authorizer.AttributesRecord {
	u := &user.DefaultInfo{Name: s.User, UID: s.UID, Groups: s.Groups}
	for k, v := range s.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[k] = v
	}
	return attributesFor(u, s.ResourceAttributes, s.NonResourceAttributes)
}
