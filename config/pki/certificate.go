package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"time"
)

type usage int

const (
	clientUsage usage = iota
	// serverUsage also allows clients: a kubelet is both under one name.
	serverUsage
)

// leaf describes a certificate to be issued.
type leaf struct {
	file      string // base name, without extension
	issuer    *authority
	name      string
	groups    []string
	usage     usage
	dns       []string
	addresses []netip.Addr
	chain     bool // put the authority behind the certificate
}

// authority is a certificate that signs others.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) (*authority, []byte, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template, err := template(name, authorityLife)
	if err != nil {
		return nil, nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	cert, certPEM, err := sign(template, template, key, key)
	if err != nil {
		return nil, nil, err
	}
	return &authority{cert, key, certPEM}, keyPEM, nil
}

// issue makes a key and a certificate for it, both in PEM.
func (a *authority) issue(l leaf) (cert, key []byte, err error) {
	priv, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	t, err := template(l.name, leafLife)
	if err != nil {
		return nil, nil, err
	}
	t.Subject.Organization = l.groups
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if l.usage == serverUsage {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	t.DNSNames = l.dns
	for _, addr := range l.addresses {
		t.IPAddresses = append(t.IPAddresses, addr.Unmap().AsSlice())
	}
	_, cert, err = sign(t, a.cert, priv, a.key)
	if l.chain {
		cert = append(cert, a.pem...)
	}
	return cert, key, err
}

func template(name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(life),
	}, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func sign(t, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, []byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("signing %s: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading back %s: %w", t.Subject.CommonName, err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// satisfies reports whether an existing certificate is still what l asks for.
func (l leaf) satisfies(cert *x509.Certificate) bool {
	if time.Until(cert.NotAfter) < renewBefore || cert.CheckSignatureFrom(l.issuer.cert) != nil {
		return false
	}
	if cert.Subject.CommonName != l.name || !slices.Equal(cert.Subject.Organization, l.groups) {
		return false
	}
	for _, name := range l.dns {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, addr := range l.addresses {
		if !hasAddress(cert, addr) {
			return false
		}
	}
	return true
}

func hasAddress(cert *x509.Certificate, addr netip.Addr) bool {
	for _, ip := range cert.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == addr.Unmap() {
			return true
		}
	}
	return false
}
