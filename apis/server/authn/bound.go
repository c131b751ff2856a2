package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

var (
	errInvalidated = errors.New("service account token has been invalidated")
	errExpired     = errors.New("service account token has expired")
	errNotYet      = errors.New("service account token is not valid yet")
)

// goneAfter is how long the token of an object that is being deleted still
// works, so that its owner can finish cleanly.
const goneAfter = 60 * time.Second

// boundTokens believes tokens of the TokenRequest API while the objects they
// are bound to exist.
type boundTokens struct {
	issuer  *Issuer
	objects objects
}

// AuthenticateToken implements authenticator.Token. A token of another issuer
// is left to others.
func (b boundTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !slices.Contains(b.issuer.config.Issuers, issuedBy(token)) {
		return nil, false, nil
	}
	var c claims
	if err := b.issuer.verify(token, &c); err != nil {
		return nil, false, err
	}
	countWithoutAudience(ctx, c.Claims)
	audiences := authenticator.Audiences(c.Audience)
	if len(audiences) == 0 {
		audiences = b.issuer.Audiences()
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = b.issuer.Audiences()
	}
	both := wanted.Intersect(audiences)
	if len(both) == 0 {
		return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", audiences, wanted)
	}
	if err := inTime(c.Claims, time.Now()); err != nil {
		return nil, false, err
	}
	info, err := b.validate(ctx, c.Kubernetes)
	if err != nil {
		return nil, false, err
	}
	if c.ID != "" {
		info.CredentialID = "JTI=" + c.ID
	}
	warnStale(ctx, c.Kubernetes)
	return &authenticator.Response{User: info.UserInfo(), Audiences: both}, true, nil
}

func inTime(c jwt.Claims, now time.Time) error {
	switch {
	case c.Expiry == nil || now.After(c.Expiry.Time().Add(jwt.DefaultLeeway)):
		return errExpired
	case c.NotBefore != nil && now.Before(c.NotBefore.Time().Add(-jwt.DefaultLeeway)):
		return errNotYet
	}
	return nil
}

// validate checks that every bound object still exists, as the same object.
func (b boundTokens) validate(ctx context.Context, p private) (*serviceaccount.ServiceAccountInfo, error) {
	account, err := b.objects.account(ctx, p.Namespace, p.ServiceAccount.Name)
	if err := alive(account, p.ServiceAccount, err); err != nil {
		return nil, err
	}
	info := &serviceaccount.ServiceAccountInfo{Namespace: p.Namespace, Name: p.ServiceAccount.Name, UID: p.ServiceAccount.UID}
	if p.Secret != nil {
		secret, err := b.objects.secret(ctx, p.Namespace, p.Secret.Name)
		if err := alive(secret, *p.Secret, err); err != nil {
			return nil, err
		}
	}
	if p.Pod != nil {
		pod, err := b.objects.pod(ctx, p.Namespace, p.Pod.Name)
		if err := alive(pod, *p.Pod, err); err != nil {
			return nil, err
		}
		info.PodName, info.PodUID = p.Pod.Name, p.Pod.UID
	}
	if p.Node != nil {
		// Beside a pod the node only informs; alone the token is bound to it.
		if p.Pod == nil {
			node, err := b.objects.node(ctx, p.Node.Name)
			if err := alive(node, *p.Node, err); err != nil {
				return nil, err
			}
		}
		info.NodeName, info.NodeUID = p.Node.Name, p.Node.UID
	}
	return info, nil
}

// alive turns the outcome of a lookup into the token's fate.
func alive(o metav1.Object, want ref, err error) error {
	if err != nil {
		return errInvalidated
	}
	if d := o.GetDeletionTimestamp(); d != nil && time.Now().After(d.Add(goneAfter)) {
		return errInvalidated
	}
	if string(o.GetUID()) != want.UID {
		return errInvalidated
	}
	return nil
}

// warnStale counts the use of a token whose client is told to refresh it, and
// leaves a note in the audit log when the client has missed that.
func warnStale(ctx context.Context, p private) {
	if p.WarnAfter == nil || p.WarnAfter.Time().IsZero() {
		return
	}
	late := time.Since(p.WarnAfter.Time())
	if late <= 0 {
		validTokens.WithContext(ctx).Inc()
		return
	}
	staleTokens.WithContext(ctx).Inc()
	audit.AddAuditAnnotation(ctx, "authentication.k8s.io/stale-token", fmt.Sprintf(
		"subject: %s, seconds after warning threshold: %.f", serviceaccount.MakeUsername(p.Namespace, p.ServiceAccount.Name), late.Seconds()))
}

// countWithoutAudience counts tokens that say nothing of whom they are for.
func countWithoutAudience(ctx context.Context, c jwt.Claims) {
	if len(c.Audience) > 0 {
		return
	}
	audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token", c.Subject)
	legacyUses.WithContext(ctx).Inc()
}
