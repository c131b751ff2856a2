package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dir is the directory of the files.
type dir string

// writes are the files to be made, in order.
type writes []write

type write struct {
	name string
	data []byte
	mode fs.FileMode
}

func (w *writes) add(name string, data []byte, mode fs.FileMode) {
	*w = append(*w, write{name, data, mode})
}

// corrupt is the one line an operator reads about a broken file.
func (d dir) corrupt(name, what, mend string) error {
	return fmt.Errorf("certificate file %s: %s; %s", filepath.Join(string(d), name), what, mend)
}

const (
	mendAuthority = "restore it from a backup, or move the whole directory away to found a new authority (every client then needs a new kubeconfig)"
	mendLeaf      = "remove this .crt and its .key and start again: both are made anew"
	mendKey       = "restore it from a backup, or remove it: a new key is made and every service account token issued before stops working"
)

// read returns nil without an error when the file doesn't exist.
func (d dir) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	return data, nil
}

// authority reads a certificate that signs, or plans a new one.
func (d dir) authority(plan *writes, file, name string) (*authority, error) {
	certPEM, err := d.read(file + ".crt")
	if err != nil {
		return nil, err
	}
	keyPEM, err := d.read(file + ".key")
	if err != nil {
		return nil, err
	}
	switch {
	case certPEM == nil && keyPEM == nil:
		a, key, err := newAuthority(name)
		if err != nil {
			return nil, fmt.Errorf("making the authority %s: %w", name, err)
		}
		plan.add(file+".key", key, 0o600)
		plan.add(file+".crt", a.pem, 0o644)
		return a, nil
	case certPEM == nil:
		return nil, d.corrupt(file+".crt", "is missing while its key exists", mendAuthority)
	case keyPEM == nil:
		return nil, d.corrupt(file+".key", "is missing while its certificate exists", mendAuthority)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, d.corrupt(file+".crt", err.Error(), mendAuthority)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, d.corrupt(file+".key", err.Error(), mendAuthority)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, d.corrupt(file+".key", "does not belong to "+file+".crt", mendAuthority)
	}
	return &authority{cert, key, certPEM}, nil
}

// tokenKey reads the key of service account tokens, or plans a new one.
func (d dir) tokenKey(plan *writes) (*ecdsa.PrivateKey, error) {
	data, err := d.read("sa.key")
	if err != nil {
		return nil, err
	}
	if data == nil {
		key, keyPEM, err := newKey()
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, fmt.Errorf("encoding the service account key: %w", err)
		}
		plan.add("sa.key", keyPEM, 0o600)
		plan.add("sa.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
		return key, nil
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, d.corrupt("sa.key", err.Error(), mendKey)
	}
	return key, nil
}

// fresh reports whether the files of a leaf exist and will do for a while.
func (d dir) fresh(l leaf) (bool, error) {
	certPEM, err := d.read(l.file + ".crt")
	if err != nil {
		return false, err
	}
	keyPEM, err := d.read(l.file + ".key")
	if err != nil || certPEM == nil || keyPEM == nil {
		return false, err
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return false, d.corrupt(l.file+".crt", err.Error(), mendLeaf)
	}
	if _, err := parseKey(keyPEM); err != nil {
		return false, d.corrupt(l.file+".key", err.Error(), mendLeaf)
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return false, nil // a renewal was interrupted between the two files
	}
	return l.satisfies(cert) && (!l.chain || bytes.HasSuffix(certPEM, l.issuer.pem)), nil
}

// apply writes the planned files; each is complete or absent at any instant.
func (d dir) apply(plan writes) error {
	if len(plan) == 0 {
		return nil
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("creating the certificate directory: %w", err)
	}
	for _, w := range plan {
		if err := writeFile(filepath.Join(string(d), w.name), w.data, w.mode); err != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces a file atomically and durably.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("is not a PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("is not a certificate: %w", err)
	}
	return cert, nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("is not a PEM key")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("is not a private key: %w", err)
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("is not an ECDSA key")
	}
	return key, nil
}
