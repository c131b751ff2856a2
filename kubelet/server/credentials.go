package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// Credentials are what the endpoint proves itself with, and whose clients it trusts. Both are asked for at each
// handshake, so that renewed ones are used without a restart.
type Credentials interface {
	Certificate() (*tls.Certificate, error)
	ClientCAs() (*x509.CertPool, error)
}

// serverTLS asks clients for a certificate but leaves judging it to authentication, which can name the reason.
func serverTLS(credentials Credentials) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return credentials.Certificate()
		},
	}
}

// Files are credentials kept in PEM files. A file that changed is read again; one that cannot be read then, because it
// is just being replaced, leaves what was read before.
type Files struct {
	certFile, keyFile, caFile string

	mu    sync.Mutex
	read  map[string]time.Time // modification times of what was read
	cert  *tls.Certificate
	pool  *x509.CertPool
	since time.Time // of the last look
}

// lookInterval is how often files are looked at at most.
const lookInterval = time.Second

// NewFiles reads the files once, to fail early if they are not what they should be.
func NewFiles(certFile, keyFile, caFile string) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, caFile: caFile, read: map[string]time.Time{}}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// Certificate answers the certificate to serve with.
func (f *Files) Certificate() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.cert, nil
}

// ClientCAs answers the authorities of clients' certificates.
func (f *Files) ClientCAs() (*x509.CertPool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.pool, nil
}

func (f *Files) refresh() {
	if time.Since(f.since) < lookInterval || !f.changed() {
		return
	}
	// What cannot be read stays as it was and is tried again at the next look.
	_ = f.load()
}

func (f *Files) changed() bool {
	f.since = time.Now()
	for _, name := range []string{f.certFile, f.keyFile, f.caFile} {
		info, err := os.Stat(name)
		if err == nil && !info.ModTime().Equal(f.read[name]) {
			return true
		}
	}
	return false
}

func (f *Files) load() error {
	times := map[string]time.Time{}
	for _, name := range []string{f.certFile, f.keyFile, f.caFile} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("reading the endpoint's credentials: %w", err)
		}
		times[name] = info.ModTime()
	}
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return fmt.Errorf("reading the endpoint's certificate: %w", err)
	}
	pem, err := os.ReadFile(f.caFile)
	if err != nil {
		return fmt.Errorf("reading the clients' authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("reading the clients' authority: %s holds no certificate", f.caFile)
	}
	f.cert, f.pool, f.read, f.since = &cert, pool, times, time.Now()
	return nil
}
