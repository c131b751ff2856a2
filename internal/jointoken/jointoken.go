// Package jointoken is the text that a node joins by: a bootstrap token (KEP-130, id.secret) and the pin of the cluster's
// certificate authority, so that neither an eavesdropper nor a false server gains anything.
//
//	skiff1 <SHA-256 of the authority's public key, 64 hexadecimal digits> :: <id, 6 letters or digits> . <secret, 16>
//
// without the blanks. The public key is hashed in its DER form (SubjectPublicKeyInfo), as RFC 7469 and kubeadm do.
package jointoken

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"regexp"
)

// Token lets a node join.
type Token struct {
	Pin        Pin
	ID, Secret string
}

// Pin is the SHA-256 of a public key in DER.
type Pin [sha256.Size]byte

// ErrForm is the error of a text that is no token.
var ErrForm = errors.New("not a token: give it whole, as `skiff token create` printed it: skiff1HASH::ID.SECRET")

var form = regexp.MustCompile(`^skiff1([0-9a-f]{64})::([a-z0-9]{6})\.([a-z0-9]{16})$`)

// Parse reads a token, else answers ErrForm.
func Parse(text string) (Token, error) {
	found := form.FindStringSubmatch(text)
	if found == nil {
		return Token{}, ErrForm
	}
	t := Token{ID: found[2], Secret: found[3]}
	_, err := hex.Decode(t.Pin[:], []byte(found[1]))
	return t, err
}

// String is what Parse reads.
func (t Token) String() string { return "skiff1" + t.Pin.String() + "::" + t.Bearer() }

// Bearer is the bootstrap token alone, which the API takes.
func (t Token) Bearer() string { return t.ID + "." + t.Secret }

// String is the pin in hexadecimal digits.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// PinOf is the pin of a certificate's key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// PinOfPEM is the pin of the first certificate of a PEM bundle.
func PinOfPEM(bundle []byte) (Pin, error) {
	block, _ := pem.Decode(bundle)
	if block == nil || block.Type != "CERTIFICATE" {
		return Pin{}, errors.New("there is no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Pin{}, err
	}
	return PinOf(cert), nil
}
