package route

import (
	"crypto/tls"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Keypairs remembers the certificates that it read from Secrets, as most Secrets are the same the next time. Only one
// goroutine may use it.
type Keypairs struct {
	known, used map[types.NamespacedName]keypair
}

type keypair struct {
	uid     types.UID
	version string
	cert    *tls.Certificate
	err     error
}

// read answers the certificate in a Secret.
func (k *Keypairs) read(s *corev1.Secret) (*tls.Certificate, error) {
	at := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	p, ok := k.known[at]
	if !ok || p.uid != s.UID || p.version != s.ResourceVersion || s.ResourceVersion == "" {
		p = keypair{uid: s.UID, version: s.ResourceVersion}
		p.cert, p.err = readKeypair(s)
	}
	k.used[at] = p
	return p.cert, p.err
}

// begin starts a round of reading; what wasn't read in the one before is forgotten.
func (k *Keypairs) begin() { k.known, k.used = k.used, map[types.NamespacedName]keypair{} }

func readKeypair(s *corev1.Secret) (*tls.Certificate, error) {
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(s.Data[key]) == 0 {
			return nil, fmt.Errorf("it has no %s", key)
		}
	}
	cert, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("its %s and %s don't make a certificate: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return &cert, nil
}
