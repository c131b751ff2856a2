package pki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"skiff/config/pki"
)

func config(dir string) pki.Config {
	return pki.Config{Dir: dir, NodeName: "n1", Names: []string{"api.example.com"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}
}

func load(t *testing.T, c pki.Config) *pki.PKI {
	t.Helper()
	p, err := pki.Load(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

func certificate(t *testing.T, p *pki.PKI, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.File(name+".crt"), p.File(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestFirstLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	p := load(t, config(dir))
	roots, front := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CA())
	frontCA, err := p.Read("front-proxy-ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	front.AppendCertsFromPEM(frontCA)
	for _, c := range []struct {
		file, dns string
		roots     *x509.CertPool
		usage     x509.ExtKeyUsage
		name      string
		group     string
	}{
		{"apiserver", "kubernetes.default.svc", roots, x509.ExtKeyUsageServerAuth, "kube-apiserver", ""},
		{"apiserver", "192.0.2.7", roots, x509.ExtKeyUsageServerAuth, "kube-apiserver", ""},
		{"apiserver", "api.example.com", roots, x509.ExtKeyUsageServerAuth, "kube-apiserver", ""},
		{"kubelet", "n1", roots, x509.ExtKeyUsageServerAuth, "system:node:n1", "system:nodes"},
		{"admin", "", roots, x509.ExtKeyUsageClientAuth, "kubernetes-admin", "system:masters"},
		{"apiserver-kubelet-client", "", roots, x509.ExtKeyUsageClientAuth, "kube-apiserver-kubelet-client", "system:masters"},
		{"front-proxy-client", "", front, x509.ExtKeyUsageClientAuth, "front-proxy-client", ""},
	} {
		cert := certificate(t, p, c.file)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: c.roots, DNSName: c.dns, KeyUsages: []x509.ExtKeyUsage{c.usage}}); err != nil {
			t.Errorf("%s for %q: %v", c.file, c.dns, err)
		}
		if cert.Subject.CommonName != c.name || strings.Join(cert.Subject.Organization, ",") != c.group {
			t.Errorf("%s: subject %s", c.file, cert.Subject)
		}
	}
	for name := range contents(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".key") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

func TestSecondLoadChangesNothing(t *testing.T) {
	dir := t.TempDir()
	load(t, config(dir))
	before := contents(t, dir)
	load(t, config(dir))
	for name, data := range contents(t, dir) {
		if before[name] != data {
			t.Errorf("%s changed", name)
		}
	}
}

func TestNewAddressRenewsOnlyTheServers(t *testing.T) {
	dir := t.TempDir()
	c := config(dir)
	load(t, c)
	before := contents(t, dir)
	c.Addresses = append(c.Addresses, netip.MustParseAddr("192.0.2.8"))
	load(t, c)
	after := contents(t, dir)
	for name := range after {
		server := strings.HasPrefix(name, "apiserver.") || strings.HasPrefix(name, "kubelet.")
		if (before[name] != after[name]) != server {
			t.Errorf("%s: changed %v", name, before[name] != after[name])
		}
	}
}

func TestRunRenewsBeforeExpiry(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := load(t, config(dir))
		first := certificate(t, p, "apiserver")
		go func() { _ = p.Run(t.Context()) }()
		time.Sleep(300 * 24 * time.Hour)
		synctest.Wait()
		if !certificate(t, p, "apiserver").Equal(first) {
			t.Error("renewed too early")
		}
		time.Sleep(60 * 24 * time.Hour)
		synctest.Wait()
		renewed := certificate(t, p, "apiserver")
		if renewed.Equal(first) || time.Until(renewed.NotAfter) < 300*24*time.Hour {
			t.Errorf("not renewed: ends %s", renewed.NotAfter)
		}
		if !bytes.Equal(renewed.RawIssuer, first.RawIssuer) {
			t.Error("another issuer")
		}
	})
}

func TestCorruptFilesStopAndChangeNothing(t *testing.T) {
	for file, mend := range map[string]string{
		"ca.crt": "restore", "ca.key": "restore", "front-proxy-ca.crt": "restore",
		"apiserver.crt": "remove", "admin.key": "remove", "sa.key": "restore",
	} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			load(t, config(dir))
			if err := os.WriteFile(filepath.Join(dir, file), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, "apiserver-kubelet-client.crt")); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			_, err := pki.Load(config(dir))
			if err == nil {
				t.Fatal("loaded")
			}
			message := err.Error()
			if !strings.Contains(message, filepath.Join(dir, file)) || !strings.Contains(message, mend) || strings.Contains(message, "\n") {
				t.Errorf("message %q", message)
			}
			after := contents(t, dir)
			if len(after) != len(before) {
				t.Errorf("files were written: %d, then %d", len(before), len(after))
			}
		})
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	p := load(t, config(dir))
	path := filepath.Join(dir, "sub", "config")
	if err := p.WriteKubeconfig(path, "skiff", "https://192.0.2.7:6443"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := p.MergeKubeconfig(path, "other", "https://192.0.2.9:6443"); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.CurrentContext != "other" || cfg.Clusters["skiff"].Server != "https://192.0.2.7:6443" || cfg.Clusters["other"].Server != "https://192.0.2.9:6443" {
		t.Errorf("merged %+v", cfg)
	}
}

// TestTheServerShowsItsAuthority lets nodes that know the authority by its hash join, also a server whose certificate is
// from a skiff that showed none.
func TestTheServerShowsItsAuthority(t *testing.T) {
	c := config(filepath.Join(t.TempDir(), "pki"))
	p := load(t, c)
	chain, err := p.Read("apiserver.crt")
	if err != nil {
		t.Fatal(err)
	}
	alone, found := bytes.CutSuffix(chain, p.CA())
	if !found {
		t.Fatalf("the authority is not behind the certificate:\n%s", chain)
	}
	if err := os.WriteFile(p.File("apiserver.crt"), alone, 0o600); err != nil {
		t.Fatal(err)
	}
	p = load(t, c)
	if chain, err = p.Read("apiserver.crt"); err != nil || !bytes.HasSuffix(chain, p.CA()) {
		t.Errorf("the authority did not come (%v):\n%s", err, chain)
	}
	certificate(t, p, "apiserver")
}
