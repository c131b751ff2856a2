package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// user is who a request comes from.
type user struct {
	name, uid string
	groups    []string
	extra     map[string][]string
}

var errUnauthenticated = errors.New("no valid credentials")

// How long a token's review is trusted.
const (
	tokenGood = 2 * time.Minute
	tokenBad  = 10 * time.Second
)

// authenticate finds out who a request comes from.
func (a *access) authenticate(r *http.Request) (user, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if found, err := a.certificate(r.TLS.PeerCertificates); err == nil {
			return found, nil
		}
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") && strings.TrimSpace(token) != "" {
		return a.token(r.Context(), strings.TrimSpace(token))
	}
	if a.config.Anonymous {
		return user{name: "system:anonymous", groups: []string{"system:unauthenticated"}}, nil
	}
	return user{}, errUnauthenticated
}

// certificate checks a client's certificate; its subject is the user.
func (a *access) certificate(chain []*x509.Certificate) (user, error) {
	authorities, err := a.deps.Credentials.ClientCAs()
	if err != nil {
		return user{}, fmt.Errorf("reading the clients' authorities: %w", err)
	}
	between := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		between.AddCert(certificate)
	}
	leaf := chain[0]
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return user{}, fmt.Errorf("verifying a client's certificate: %w", err)
	}
	if leaf.Subject.CommonName == "" {
		return user{}, errUnauthenticated
	}
	groups := append([]string{}, leaf.Subject.Organization...)
	return user{name: leaf.Subject.CommonName, groups: append(groups, "system:authenticated")}, nil
}

// token asks the API whose a token is, and remembers the answer for a while.
func (a *access) token(ctx context.Context, token string) (user, error) {
	key := sha256.Sum256([]byte(token))
	if known, ok := a.tokens.Get(key); ok {
		found, ok := known.(*user)
		if !ok || found == nil {
			return user{}, errUnauthenticated
		}
		return *found, nil
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	answer, err := a.deps.Client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return user{}, fmt.Errorf("reviewing a token: %w", err)
	}
	if !answer.Status.Authenticated {
		a.tokens.Set(key, (*user)(nil), tokenBad)
		return user{}, errUnauthenticated
	}
	found := &user{name: answer.Status.User.Username, uid: answer.Status.User.UID, groups: answer.Status.User.Groups}
	if len(answer.Status.User.Extra) > 0 {
		found.extra = map[string][]string{}
		for name, values := range answer.Status.User.Extra {
			found.extra[name] = values
		}
	}
	a.tokens.Set(key, found, tokenGood)
	return *found, nil
}
