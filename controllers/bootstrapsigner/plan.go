package bootstrapsigner

import (
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"
	"k8s.io/cluster-bootstrap/util/secrets"
)

// Signed answers the data of the config map with one detached signature for each token, nil if it has them already or
// holds no kubeconfig.
func Signed(data, tokens map[string]string) (map[string]string, error) {
	content, ok := data[bootstrapapi.KubeConfigKey]
	if !ok {
		return nil, nil
	}
	wanted := map[string]string{}
	for name, value := range data {
		if !strings.HasPrefix(name, bootstrapapi.JWSSignatureKeyPrefix) {
			wanted[name] = value
		}
	}
	for id, secret := range tokens {
		signature, err := jws.ComputeDetachedSignature(content, id, secret)
		if err != nil {
			return nil, fmt.Errorf("signing for token %s: %w", id, err)
		}
		wanted[bootstrapapi.JWSSignatureKeyPrefix+id] = signature
	}
	if maps.Equal(data, wanted) {
		return nil, nil
	}
	return wanted, nil
}

// Token answers the id and the secret of a bootstrap token that may sign at that time.
func Token(secret *corev1.Secret, now time.Time) (id, value string, ok bool) {
	if secret.Type != bootstrapapi.SecretTypeBootstrapToken || secret.DeletionTimestamp != nil {
		return "", "", false
	}
	named, ok := secrets.ParseName(secret.Name)
	id, value = secrets.GetData(secret, bootstrapapi.BootstrapTokenIDKey), secrets.GetData(secret, bootstrapapi.BootstrapTokenSecretKey)
	if !ok || named != id || value == "" || secrets.HasExpired(secret, now) {
		return "", "", false
	}
	return id, value, secrets.GetData(secret, bootstrapapi.BootstrapTokenUsageSigningKey) == "true"
}
