// Package pki makes and renews the certificates and keys of a cluster.
//
// Everything is ECDSA P-256 in PEM files of one directory, private keys with
// mode 0600. What is missing is made, what is about to expire is made again;
// an authority or a key that exists is never replaced. A file that can't be read
// stops the start before anything was written, with an error that names the
// file and how to mend it.
package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/klog/v2"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// renewBefore leaves a month to notice that renewing fails.
	renewBefore = 30 * 24 * time.Hour
	checkEvery  = 12 * time.Hour
	// clockSkew lets hosts with a slow clock accept a new certificate.
	clockSkew = 5 * time.Minute
)

// Config says for whom the certificates are.
type Config struct {
	Dir       string
	NodeName  string       // the kubelet's identity; empty when there is no node
	Names     []string     // further DNS names of the API server
	Addresses []netip.Addr // addresses of the API server and of the node
}

// PKI is a complete set of files.
type PKI struct {
	config     Config
	ca         *authority
	frontProxy *authority
	tokenKey   *ecdsa.PrivateKey
}

// Load reads the directory, then makes what is missing or about to expire.
func Load(c Config) (*PKI, error) {
	p, plan, err := read(c)
	if err != nil {
		return nil, err
	}
	if err := dir(c.Dir).apply(plan); err != nil {
		return nil, err
	}
	return p, nil
}

// Check reports what Load would find wrong with the directory. It writes nothing.
func Check(c Config) error {
	_, _, err := read(c)
	return err
}

// read answers what is there and what has to be written.
func read(c Config) (*PKI, writes, error) {
	d := dir(c.Dir)
	p := &PKI{config: c}
	var err error
	var plan writes
	if p.ca, err = d.authority(&plan, "ca", "kubernetes-ca"); err != nil {
		return nil, plan, err
	}
	if p.frontProxy, err = d.authority(&plan, "front-proxy-ca", "front-proxy-ca"); err != nil {
		return nil, plan, err
	}
	if p.tokenKey, err = d.tokenKey(&plan); err != nil {
		return nil, plan, err
	}
	err = p.planLeaves(&plan)
	return p, plan, err
}

// planLeaves adds every leaf that has to be issued.
func (p *PKI) planLeaves(plan *writes) error {
	d := dir(p.config.Dir)
	for _, l := range p.leaves() {
		fresh, err := d.fresh(l)
		if err != nil {
			return err
		}
		if fresh {
			continue
		}
		cert, key, err := l.issuer.issue(l)
		if err != nil {
			return fmt.Errorf("issuing %s: %w", l.file, err)
		}
		plan.add(l.file+".crt", cert, 0o644)
		plan.add(l.file+".key", key, 0o600)
	}
	return nil
}

// Run renews leaves before they expire until ctx ends. Whoever reads the files
// must watch them. A failure is logged and tried again at the next check.
func (p *PKI) Run(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := p.renew(); err != nil {
				klog.FromContext(ctx).Error(err, "Renewing certificates")
			}
		}
	}
}

func (p *PKI) renew() error {
	var plan writes
	if err := p.planLeaves(&plan); err != nil {
		return err
	}
	return dir(p.config.Dir).apply(plan)
}

// leaves lists every certificate that is kept as a file.
func (p *PKI) leaves() []leaf {
	server := slices.Concat(p.config.Names, ServerNames())
	out := []leaf{
		// The server shows its authority too: a node that joins knows it by its hash only.
		{file: "apiserver", issuer: p.ca, name: "kube-apiserver", usage: serverUsage, dns: server, addresses: p.config.Addresses, chain: true},
		{file: "apiserver-kubelet-client", issuer: p.ca, name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}, usage: clientUsage},
		{file: "front-proxy-client", issuer: p.frontProxy, name: "front-proxy-client", usage: clientUsage},
		{file: "admin", issuer: p.ca, name: "kubernetes-admin", groups: []string{"system:masters"}, usage: clientUsage},
	}
	if node := p.config.NodeName; node != "" {
		out = append(out, leaf{
			file: "kubelet", issuer: p.ca, name: "system:node:" + node, groups: []string{"system:nodes"},
			usage: serverUsage, dns: []string{node}, addresses: p.config.Addresses,
		})
	}
	return out
}

// ServerNames are the names that every API server has.
func ServerNames() []string {
	return []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
}

// Issue makes a client certificate for a user outside of the kept set (a node
// that joins, a test). It is not stored.
func (p *PKI) Issue(user string, groups ...string) (cert, key []byte, err error) {
	return p.ca.issue(leaf{issuer: p.ca, name: user, groups: groups, usage: clientUsage})
}

// CA is the PEM certificate of the cluster's authority.
func (p *PKI) CA() []byte { return p.ca.pem }

// Authority is the cluster's signing key, which the certificate controllers use.
func (p *PKI) Authority() (*x509.Certificate, *ecdsa.PrivateKey) { return p.ca.cert, p.ca.key }

// TokenKey signs service account tokens.
func (p *PKI) TokenKey() *ecdsa.PrivateKey { return p.tokenKey }

// File is the path of one of the files: ca.crt, apiserver.crt, apiserver.key,
// apiserver-kubelet-client.{crt,key}, front-proxy-ca.crt,
// front-proxy-client.{crt,key}, admin.{crt,key}, kubelet.{crt,key}, sa.key.
func (p *PKI) File(name string) string { return filepath.Join(p.config.Dir, name) }

// Read returns the contents of one of the files.
func (p *PKI) Read(name string) ([]byte, error) {
	data, err := os.ReadFile(p.File(name))
	if err != nil {
		return nil, fmt.Errorf("reading the certificates: %w", err)
	}
	return data, nil
}
