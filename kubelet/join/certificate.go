package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate/csr"
)

// kept is a certificate that is kept in a file.
type kept struct {
	file      string // path
	signer    string
	usage     certificatesv1.KeyUsage
	user      string
	group     string
	names     []string
	addresses []netip.Addr
}

// read answers the certificate of the file, nil when there is none.
func (k kept) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(k.file, k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("certificate file %s: %w: remove it and start again with --token", k.file, err)
	}
	return &cert, nil
}

// good reports whether the certificate is what is wanted, and until when it need not be renewed.
func (k kept) good(cert *tls.Certificate, now time.Time) (renew time.Time, ok bool) {
	if cert == nil || cert.Leaf.Subject.CommonName != k.user || !now.Before(cert.Leaf.NotAfter) {
		return now, false
	}
	for _, name := range k.names {
		if !slices.Contains(cert.Leaf.DNSNames, name) {
			return now, false
		}
	}
	for _, a := range k.addresses {
		if !slices.ContainsFunc(cert.Leaf.IPAddresses, func(ip net.IP) bool { return ip.Equal(a.AsSlice()) }) {
			return now, false
		}
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	return cert.Leaf.NotAfter.Add(-life / 5), true
}

// request asks for a certificate with a new key, waits until it is signed, and puts both into the file.
func (k kept) request(ctx context.Context, client kubernetes.Interface) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: k.user, Organization: []string{k.group}}, DNSNames: k.names}
	for _, a := range k.addresses {
		template.IPAddresses = append(template.IPAddresses, a.AsSlice())
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return fmt.Errorf("making a request for a certificate: %w", err)
	}
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, k.usage}
	name, uid, err := csr.RequestCertificateWithContext(ctx, client, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), "", k.signer, nil, usages, key)
	if err != nil {
		return fmt.Errorf("asking for the certificate of %s: %w", k.user, err)
	}
	cert, err := csr.WaitForCertificate(ctx, client, name, uid)
	if err != nil {
		return fmt.Errorf("waiting for certificate signing request %s (%s for %s) to be approved: %w", name, k.signer, k.user, err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	both := slices.Concat(cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}))
	if _, err := tls.X509KeyPair(both, both); err != nil {
		return fmt.Errorf("reading the certificate of %s: %w", k.user, err)
	}
	return replace(k.file, both)
}

// replace writes a file that only its owner reads: it is complete, or as it was.
func replace(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
