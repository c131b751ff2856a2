package authn

import (
	"context"
	"crypto/subtle"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// legacyTokens believes a token while the Secret that it names holds it.
type legacyTokens struct {
	issuer  *Issuer
	objects objects
}

// AuthenticateToken implements authenticator.Token.
func (l legacyTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if issuedBy(token) != legacyIssuer {
		return nil, false, nil
	}
	var c legacyClaims
	if err := l.issuer.verify(token, &c); err != nil {
		return nil, false, err
	}
	if c.Subject != serviceaccount.MakeUsername(c.Namespace, c.Account) {
		return nil, false, errInvalidated
	}
	secret, err := l.objects.secret(ctx, c.Namespace, c.Secret)
	if err != nil || secret.DeletionTimestamp != nil {
		return nil, false, errInvalidated
	}
	if subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
		return nil, false, errInvalidated
	}
	account, err := l.objects.account(ctx, c.Namespace, c.Account)
	if err := alive(account, ref{c.Account, c.AccountUID}, err); err != nil {
		return nil, false, err
	}
	info := &serviceaccount.ServiceAccountInfo{Namespace: c.Namespace, Name: c.Account, UID: c.AccountUID}
	return &authenticator.Response{User: info.UserInfo()}, true, nil
}
