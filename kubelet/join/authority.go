package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"skiff/internal/jointoken"
)

// dialTimeout is how long a server may take to answer.
const dialTimeout = 10 * time.Second

// authority answers the PEM certificate of the authority with the pin, of a server that proves to have a certificate
// of it. Nothing is sent that only the cluster may know.
func authority(ctx context.Context, server *url.URL, pin jointoken.Pin) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var found *x509.Certificate
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: server.Hostname(),
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies, with the authority that the pin tells
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			found, err = verify(state, server.Hostname(), pin, time.Now())
			return err
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(server))
	if err != nil {
		return nil, unreachable(server, err)
	}
	_ = conn.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.Raw}), nil
}

// verify answers the pinned authority of the certificates that a server shows, if it signed the server's.
func verify(state tls.ConnectionState, host string, pin jointoken.Pin, now time.Time) (*x509.Certificate, error) {
	shown := state.PeerCertificates
	for _, cert := range shown[1:] {
		if !cert.IsCA || jointoken.PinOf(cert) != pin {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(cert)
		if _, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now}); err != nil {
			return nil, err
		}
		return cert, nil
	}
	if len(shown) == 1 {
		return nil, errors.New("token: the server shows no certificate authority: is it a `skiff server`, of this version?")
	}
	return nil, fmt.Errorf("token: the server is not the one that the token is of: its authority has the pin %s, the token %s: check --server, or create a token there with `skiff token create`",
		jointoken.PinOf(shown[len(shown)-1]), pin)
}

// unreachable is what a user reads about a connection that failed.
func unreachable(server *url.URL, err error) error {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var net *net.OpError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("clock: the server's certificate is good from %s to %s, and here it is %s: set the clock of this host or of the server",
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
	case errors.As(err, &host):
		return fmt.Errorf("server: %s is no name of the server in its certificate: give one that is, or start the server with --tls-san=%s", server.Hostname(), server.Hostname())
	case errors.As(err, &net), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("server: can't reach %s: %w: check --server, and that a `skiff server` runs there and no firewall is between", server, err)
	}
	return err
}

func hostPort(server *url.URL) string {
	port := server.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(server.Hostname(), port)
}
