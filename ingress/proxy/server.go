package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// streams is how many requests a connection of HTTP/2 may have at a time.
	streams = 128
	// farewell is how long requests may take to end when the proxy ends.
	farewell = 5 * time.Second
	// defaultLife is how long the default certificate is good for.
	defaultLife = 10 * 365 * 24 * time.Hour
)

// Serve passes requests on that come at the listener, with TLS if secure, until ctx ends, and closes it. Requests that are
// on their way then have a few seconds.
func (p *Proxy) Serve(ctx context.Context, at net.Listener, secure bool) error {
	r := newRoom(p, "http")
	s := &http.Server{
		Handler: r, ReadHeaderTimeout: p.config.HeaderTimeout, IdleTimeout: p.config.IdleTimeout,
		MaxHeaderBytes: p.config.HeaderBytes, ErrorLog: quiet(), ConnState: r.changed, ConnContext: r.context,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		Protocols:   new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams},
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(secure)
	s.Protocols.SetUnencryptedHTTP2(!secure)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if s.Shutdown(patience) != nil {
			_ = s.Close()
		}
	})
	defer r.close()
	var err error
	if limited := (listener{at, r}); secure {
		r.name, s.TLSConfig = "https", p.tls()
		err = s.ServeTLS(limited, "", "")
	} else {
		err = s.Serve(limited)
	}
	if stop() { // it failed by itself
		_ = s.Close()
		return fmt.Errorf("serving %s for the ingress: %w", r.name, err)
	}
	<-ended
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// tls serves the certificate of the table that is in force, or one that nobody signed.
func (p *Proxy) tls() *tls.Config {
	fallback := sync.OnceValues(func() (*tls.Certificate, error) { return selfSigned(p.clock.Now()) })
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := p.table.Load().Certificate(hello.ServerName); cert != nil {
				return cert, nil
			}
			return fallback()
		},
	}
}

func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the default certificate's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making the default certificate's number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "skiff ingress default certificate"}, DNSNames: []string{"ingress.invalid"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(defaultLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the default certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// quiet keeps what libraries say of clients' mistakes for who looks closely.
func quiet() *log.Logger { return log.New(verbose{}, "", 0) }

type verbose struct{}

// Write logs a line.
func (verbose) Write(line []byte) (int, error) {
	klog.Background().WithName("ingress").V(4).Info(string(line))
	return len(line), nil
}
