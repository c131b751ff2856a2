// Package nodeproxy reaches the kubelets: it knows where the kubelet of a node
// serves, and speaks to it with the API server's client certificate.
package nodeproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	defaultPort = 10250
	dialTimeout = 10 * time.Second
	keepAlive   = 30 * time.Second
	idleTimeout = 90 * time.Second
)

// Config names the files that authenticate both sides. They are read again when
// a connection is made, so renewed certificates are used without a restart.
type Config struct {
	CAFile            string // signs the kubelets' serving certificates
	CertFile, KeyFile string // the API server's identity
	Client            kubernetes.Interface
}

// Proxy dials kubelets.
type Proxy struct {
	client              kubernetes.Interface
	transport, insecure *http.Transport
}

// Address is where a kubelet serves.
type Address struct {
	Scheme, Host, Port string
	Transport          http.RoundTripper
	Insecure           http.RoundTripper // believes any serving certificate
}

// New returns a proxy; the files are read once to report a mistake early.
func New(c Config) (*Proxy, error) {
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the kubelets' authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("reading the kubelets' authority: %s holds no certificate", c.CAFile)
	}
	identity := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the kubelet client certificate: %w", err)
		}
		return &cert, nil
	}
	if _, err := identity(nil); err != nil {
		return nil, err
	}
	trusting := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: identity, MinVersion: tls.VersionTLS12} //nolint:gosec // who reads a log may ask for it
	return &Proxy{
		c.Client,
		newTransport(&tls.Config{RootCAs: roots, GetClientCertificate: identity, MinVersion: tls.VersionTLS12}),
		newTransport(trusting),
	}, nil
}

func newTransport(c *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSClientConfig: c,
		// Streams upgrade the connection, which HTTP/2 can't.
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     idleTimeout,
	}
}

// Close ends idle connections.
func (p *Proxy) Close() {
	p.transport.CloseIdleConnections()
	p.insecure.CloseIdleConnections()
}

// Address finds the kubelet of a node.
func (p *Proxy) Address(ctx context.Context, nodeName string) (Address, error) {
	node, err := p.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		node, err = p.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	}
	if err != nil {
		return Address{}, err
	}
	host, err := preferred(node)
	if err != nil {
		return Address{}, err
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port <= 0 {
		port = defaultPort
	}
	return Address{Scheme: "https", Host: host, Port: strconv.Itoa(int(port)), Transport: p.transport, Insecure: p.insecure}, nil
}

// Get answers what the kubelet of a node has at the path, which the caller
// closes. It doesn't outlast ctx.
func (p *Proxy) Get(ctx context.Context, nodeName, path string) (io.ReadCloser, error) {
	at, err := p.Address(ctx, nodeName)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: at.Scheme, Host: net.JoinHostPort(at.Host, at.Port), Path: path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("making the request %s: %w", u.String(), err)
	}
	resp, err := at.Transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", u.String(), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("getting %s: %s", u.String(), resp.Status)
	}
	return resp.Body, nil
}

// preferred is the address that serves traffic between nodes, if there is one.
func preferred(node *corev1.Node) (string, error) {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeInternalDNS, corev1.NodeExternalDNS, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind && a.Address != "" {
				return a.Address, nil
			}
		}
	}
	return "", fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses)
}
