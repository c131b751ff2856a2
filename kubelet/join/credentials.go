package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

const userAgent = "kubelet/skiff"

// Renewing is tried with a growing pause between these bounds; a certificate that is good is looked at every longestPause.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 5 * time.Minute
	// servingPatience is how long one request for a serving certificate is waited for before another is made.
	servingPatience = 2 * time.Minute
)

// Credentials are a joined host's. They are what the kubelet's endpoint serves with, too.
type Credentials struct {
	config  Config
	pool    *x509.CertPool
	serving atomic.Pointer[tls.Certificate]
	client  kubernetes.Interface // the kubelet's, which asks for all certificates
	look    time.Duration        // between two looks at a good certificate
}

// New reads the files of a host that has joined.
func New(c Config) (*Credentials, error) {
	raw, err := os.ReadFile(c.file("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's authority: %w", err)
	}
	creds := &Credentials{config: c, pool: x509.NewCertPool(), look: longestPause}
	if !creds.pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("certificate file %s: holds no certificate: remove %s and start again with --token", c.file("ca.crt"), c.Dir)
	}
	serving, err := c.serving().read()
	if err != nil {
		return nil, err
	}
	if _, good := c.serving().good(serving, time.Now()); good {
		creds.serving.Store(serving)
	}
	creds.client, err = kubernetes.NewForConfig(creds.Kubelet())
	if err != nil {
		return nil, fmt.Errorf("making the kubelet's client: %w", err)
	}
	return creds, nil
}

// Kubelet is how the kubelet reaches the API. Renewed certificates are used without a restart.
func (c *Credentials) Kubelet() *rest.Config { return c.as(c.config.kubelet(), userAgent) }

// Agent is how the node's other parts reach the API.
func (c *Credentials) Agent() *rest.Config { return c.as(c.config.agent(), "skiff") }

func (c *Credentials) as(k kept, agent string) *rest.Config {
	return &rest.Config{
		Host: c.config.Server.String(), UserAgent: agent, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.config.file("ca.crt"), CertFile: k.file, KeyFile: k.file},
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	}
}

// CAFile is the cluster's authority.
func (c *Credentials) CAFile() string { return c.config.file("ca.crt") }

// Certificate is what the kubelet's endpoint serves with.
func (c *Credentials) Certificate() (*tls.Certificate, error) {
	if cert := c.serving.Load(); cert != nil {
		return cert, nil
	}
	return nil, errNoCertificate
}

// ClientCAs are the authorities of the endpoint's clients.
func (c *Credentials) ClientCAs() (*x509.CertPool, error) { return c.pool, nil }

// Prepare gets the certificate of the node's other parts if there is none, trying until ctx ends.
func (c *Credentials) Prepare(ctx context.Context) error {
	k := c.config.agent()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		cert, err := k.read()
		if err != nil {
			return err
		}
		if _, good := k.good(cert, time.Now()); good {
			return nil
		}
		if err := c.renew(ctx, k); err != nil {
			klog.FromContext(ctx).Error(err, "Getting a certificate", "retry", pause)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
	}
}

func (c *Credentials) renew(ctx context.Context, k kept) error {
	ctx, cancel := context.WithTimeout(ctx, servingPatience)
	defer cancel()
	return k.request(ctx, c.client)
}

// Run gets the serving certificate and renews all until ctx ends.
func (c *Credentials) Run(ctx context.Context) error {
	loops, ctx := errgroup.WithContext(ctx)
	for _, k := range []kept{c.config.kubelet(), c.config.agent()} {
		loops.Go(func() error { c.keep(ctx, k, func(*tls.Certificate) {}); return nil })
	}
	loops.Go(func() error {
		c.keep(ctx, c.config.serving(), func(cert *tls.Certificate) { c.serving.Store(cert) })
		return nil
	})
	return loops.Wait()
}

// keep renews one certificate until ctx ends, and hands each that it finds in the file to use.
func (c *Credentials) keep(ctx context.Context, k kept, use func(*tls.Certificate)) {
	pause := firstPause
	for {
		cert, err := k.read()
		now := time.Now()
		renew, good := k.good(cert, now)
		if good {
			use(cert)
		}
		wait := c.look
		if err != nil || !good || now.After(renew) {
			if err = c.renew(ctx, k); err == nil {
				pause = firstPause
				continue
			}
			wait, pause = pause, min(2*pause, longestPause)
			if ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "Renewing a certificate", "user", k.user, "retry", wait)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
