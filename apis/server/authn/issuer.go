package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"skiff/config"
)

// Issuer signs and verifies service account tokens with one ES256 key.
type Issuer struct {
	key       *ecdsa.PrivateKey
	keyID     string
	signer    jose.Signer
	config    config.ServiceAccountTokens
	audiences []string // of this API
}

// TokenRequest is what a token shall say. At most one of Pod and Secret is set;
// Node may accompany Pod.
type TokenRequest struct {
	ServiceAccount *corev1.ServiceAccount
	Pod            *corev1.Pod
	Secret         *corev1.Secret
	Node           *corev1.Node
	Audiences      []string
	Lifetime       time.Duration
	// WarnAfter, if not zero, is when use of the token is counted as stale.
	WarnAfter time.Duration
}

// NewIssuer makes an issuer of a key. Its key ID is a digest of the public half.
// audiences are those of this API; none is all issuers.
func NewIssuer(key *ecdsa.PrivateKey, c config.ServiceAccountTokens, audiences []string) (*Issuer, error) {
	if key == nil {
		return nil, errors.New("no service account key")
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the service account key: %w", err)
	}
	digest := sha256.Sum256(der)
	id := base64.RawURLEncoding.EncodeToString(digest[:])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return nil, fmt.Errorf("making a token signer: %w", err)
	}
	c.Issuers = issuersOf(c)
	if len(audiences) == 0 {
		audiences = c.Issuers
	}
	return &Issuer{key, id, signer, c, audiences}, nil
}

// issuersOf are those whose tokens are the cluster's own.
func issuersOf(c config.ServiceAccountTokens) []string {
	if len(c.Issuers) == 0 {
		return []string{IssuerURL}
	}
	return c.Issuers
}

// Limits answers how long a token may live, 0 for no limit, and whether mounted
// ones live longer than they say.
func (i *Issuer) Limits() (longest time.Duration, extend bool) {
	return i.config.MaxLifetime, i.config.Extend
}

// Audiences are those of this API, which a token has that names none.
func (i *Issuer) Audiences() []string { return i.audiences }

// Issue signs a token; it answers the token and when it ends.
func (i *Issuer) Issue(_ context.Context, r TokenRequest) (string, time.Time, error) {
	now := time.Now()
	expires := now.Add(r.Lifetime)
	audiences := r.Audiences
	if len(audiences) == 0 {
		audiences = i.Audiences()
	}
	c := claims{
		Claims: jwt.Claims{
			Issuer:    i.config.Issuers[0],
			Subject:   serviceaccount.MakeUsername(r.ServiceAccount.Namespace, r.ServiceAccount.Name),
			Audience:  slices.Clone(audiences),
			Expiry:    jwt.NewNumericDate(expires),
			NotBefore: jwt.NewNumericDate(now),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        string(uuid.NewUUID()),
		},
		Kubernetes: bound(r),
	}
	if r.WarnAfter != 0 {
		c.Kubernetes.WarnAfter = jwt.NewNumericDate(now.Add(r.WarnAfter))
	}
	token, err := jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("signing a token of %s: %w", c.Subject, err)
	}
	return token, expires, nil
}

// bound names the objects whose end ends the token.
func bound(r TokenRequest) private {
	p := private{
		Namespace:      r.ServiceAccount.Namespace,
		ServiceAccount: *refTo(r.ServiceAccount),
	}
	if r.Pod != nil {
		p.Pod = refTo(r.Pod)
	}
	if r.Secret != nil {
		p.Secret = refTo(r.Secret)
	}
	if r.Node != nil {
		p.Node = refTo(r.Node)
	}
	return p
}

func refTo(o metav1.Object) *ref { return &ref{Name: o.GetName(), UID: string(o.GetUID())} }

// Legacy signs the token of a Secret of type kubernetes.io/service-account-token.
// It is valid while the Secret holds it.
func (i *Issuer) Legacy(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	c := legacyClaims{
		Claims: jwt.Claims{
			Issuer:  legacyIssuer,
			Subject: serviceaccount.MakeUsername(account.Namespace, account.Name),
		},
		Namespace: account.Namespace, Secret: secret.Name, Account: account.Name, AccountUID: string(account.UID),
	}
	token, err := jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing the token of secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return token, nil
}

// KeySet is the JSON web key set that verifies the tokens.
func (i *Issuer) KeySet() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &i.key.PublicKey, KeyID: i.keyID, Algorithm: string(jose.ES256), Use: "sig"},
	}})
}

// verify fills out with the claims of a token that this issuer signed.
func (i *Issuer) verify(token string, out any) error {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("parsing a token: %w", err)
	}
	return parsed.Claims(&i.key.PublicKey, out)
}

// issuedBy reads the issuer of a token without verifying anything, to tell
// whose token it is.
func issuedBy(token string) string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return ""
	}
	var c jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return ""
	}
	return c.Issuer
}
