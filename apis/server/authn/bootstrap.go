package authn

import (
	"context"
	"crypto/subtle"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstrapsecrets "k8s.io/cluster-bootstrap/util/secrets"
	bootstraptokens "k8s.io/cluster-bootstrap/util/tokens"
)

// bootstrapTokens believes the tokens with which nodes join: id.secret, kept in
// the Secret kube-system/bootstrap-token-<id>.
type bootstrapTokens struct{ objects objects }

// AuthenticateToken implements authenticator.Token. Anything wrong with a token
// of this form makes it nobody's token, so that guessing learns nothing.
func (b bootstrapTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	id, key, err := bootstraptokens.ParseToken(token)
	if err != nil {
		return nil, false, nil //nolint:nilerr // another kind of token
	}
	secret, err := b.objects.secret(ctx, metav1.NamespaceSystem, bootstrapapi.BootstrapTokenSecretPrefix+id)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if !usable(secret, id, key) {
		return nil, false, nil
	}
	groups, err := bootstrapsecrets.GetGroups(secret)
	if err != nil {
		return nil, false, nil //nolint:nilerr // the operator's mistake, not the caller's to know
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: bootstrapapi.BootstrapUserPrefix + id, Groups: groups}}, true, nil
}

func usable(s *corev1.Secret, id, key string) bool {
	data := func(name string) string { return bootstrapsecrets.GetData(s, name) }
	return s.DeletionTimestamp == nil &&
		string(s.Type) == string(bootstrapapi.SecretTypeBootstrapToken) &&
		subtle.ConstantTimeCompare([]byte(data(bootstrapapi.BootstrapTokenSecretKey)), []byte(key)) == 1 &&
		data(bootstrapapi.BootstrapTokenIDKey) == id &&
		!bootstrapsecrets.HasExpired(s, time.Now()) &&
		data(bootstrapapi.BootstrapTokenUsageAuthentication) == "true"
}
