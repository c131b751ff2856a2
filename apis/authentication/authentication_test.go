package authentication

import (
	"context"
	"errors"
	"net/http"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

func tokens(r *http.Request) (*authenticator.Response, bool, error) {
	if r.Header.Get("Authorization") != "Bearer good" {
		return nil, false, errors.New("invalid bearer token")
	}
	return &authenticator.Response{Audiences: authenticator.Audiences{"api"}, User: &user.DefaultInfo{Name: "alice", Groups: []string{"dev"}}}, true, nil
}

func TestTokenReview(t *testing.T) {
	deps := Deps{Tokens: authenticator.RequestFunc(tokens), Audiences: authenticator.Audiences{"api"}}
	ask := func(token string, audiences ...string) (*authenticationv1.TokenReview, error) {
		return deps.reviewToken(context.Background(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}})
	}
	if got, err := ask("good"); err != nil || !got.Status.Authenticated || got.Status.User.Username != "alice" || len(got.Status.Audiences) != 1 {
		t.Errorf("good token: %+v, %v", got, err)
	}
	if got, err := ask("bad"); err != nil || got.Status.Authenticated || got.Status.Error != "invalid bearer token" {
		t.Errorf("bad token: %+v, %v", got, err)
	}
	if _, err := ask(""); !apierrors.IsBadRequest(err) {
		t.Errorf("no token: %v", err)
	}
	if _, err := ask("good", "vault"); !apierrors.IsInternalError(err) {
		t.Errorf("token for others: %v", err)
	}
}
