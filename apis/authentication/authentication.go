// Package authentication defines the resources of the authentication.k8s.io API
// group: reviews that are answered and never stored.
package authentication

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"skiff/apis/resource"
)

// Deps is what the group needs from the server.
type Deps struct {
	// Tokens authenticates a request by its bearer token.
	Tokens authenticator.Request
	// Audiences are the server's own: who doesn't ask for any gets these.
	Audiences authenticator.Audiences
}

// Resources lists what the group serves.
func Resources(deps Deps) []resource.Resource {
	group := authenticationv1.SchemeGroupVersion
	return []resource.Resource{
		resource.Review[*authenticationv1.TokenReview]{
			Resource:      group.WithResource("tokenreviews"),
			Kind:          "TokenReview",
			Singular:      "tokenreview",
			ClusterScoped: true,
			Object:        &authenticationv1.TokenReview{},
			Answer:        deps.reviewToken,
		},
		resource.Review[*authenticationv1.SelfSubjectReview]{
			Resource:      group.WithResource("selfsubjectreviews"),
			Kind:          "SelfSubjectReview",
			Singular:      "selfsubjectreview",
			ClusterScoped: true,
			Object:        &authenticationv1.SelfSubjectReview{},
			Answer:        reviewSelf,
		},
	}
}

// reviewToken says whose token it is, as the server itself would see a request
// that bears it.
func (d Deps) reviewToken(ctx context.Context, review *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
	if review.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := authenticator.Audiences(review.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = d.Audiences
	}
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	bearing := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + review.Spec.Token}}}).WithContext(ctx)
	response, ok, err := d.Tokens.AuthenticateRequest(bearing)
	review.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
	if err != nil {
		review.Status.Error = err.Error()
	}
	if response == nil {
		return review, nil
	}
	if len(audiences) > 0 && len(audiences.Intersect(response.Audiences)) == 0 {
		return nil, apierrors.NewInternalError(fmt.Errorf("authenticating for audiences %q: token is for %q", audiences, response.Audiences))
	}
	if response.User != nil {
		review.Status.User = describe(response.User)
		review.Status.Audiences = response.Audiences
	}
	return review, nil
}

// reviewSelf says who the caller is.
func reviewSelf(ctx context.Context, review *authenticationv1.SelfSubjectReview) (*authenticationv1.SelfSubjectReview, error) {
	u, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewInternalError(errors.New("no user found in request context"))
	}
	review.CreationTimestamp = metav1.Now()
	review.Status.UserInfo = describe(u)
	return review, nil
}

func describe(u user.Info) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for k, v := range u.GetExtra() {
		if out.Extra == nil {
			out.Extra = map[string]authenticationv1.ExtraValue{}
		}
		out.Extra[k] = authenticationv1.ExtraValue(v)
	}
	return out
}
