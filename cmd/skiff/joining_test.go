package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/config"
	"skiff/config/pki"
)

// TestSharedSettings gives an agent what a server was told, and nothing else.
func TestSharedSettings(t *testing.T) {
	server := config.Default()
	server.ClusterCIDR, server.ServiceCIDR, server.ClusterDNS = "10.50.0.0/16", "10.60.0.0/16,fd00:10:96::/112", "10.60.0.53"
	server.ClusterDomain, server.CNI, server.NodeNetwork, server.NodeName = "example.test", "none", "vxlan", "server"
	agent := config.Default()
	agent.NodeName, agent.DataDir = "agent", "/x"
	values := nodeConfig(&server)
	values["node-name"], values["of-a-later-skiff"] = "other", "x"
	if err := setShared(&agent, values); err != nil {
		t.Fatal(err)
	}
	if agent.ClusterCIDR != server.ClusterCIDR || agent.ServiceCIDR != server.ServiceCIDR || agent.DNSAddress() != server.DNSAddress() ||
		agent.ClusterDomain != server.ClusterDomain || agent.CNI != "none" || agent.NodeNetwork != "vxlan" || agent.NodeName != "agent" || agent.DataDir != "/x" {
		t.Errorf("the agent has %+v", agent)
	}
	if err := setShared(&agent, map[string]string{"cluster-cidr": "nonsense"}); err == nil {
		t.Error("nonsense is taken")
	}
	server.APIOnly = true
	if nodeConfig(&server) != nil {
		t.Error("nodes may join an API alone")
	}
}

// TestRememberedSettings: whoever has the file open reads what it held, whole, while it is replaced: it is never half
// written, which would keep an agent from starting after a crash.
func TestRememberedSettings(t *testing.T) {
	cfg := config.Default()
	cfg.DataDir = t.TempDir()
	first, second := map[string]string{"cluster-domain": "first.test"}, map[string]string{"cluster-domain": "second.test"}
	if err := remember(&cfg, first); err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(sharedFile(&cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()
	if err := remember(&cfg, second); err != nil {
		t.Fatal(err)
	}
	if held, err := io.ReadAll(before); err != nil || !strings.Contains(string(held), "first.test") {
		t.Errorf("the file was written in place: %q, %v", held, err)
	}
	if got, err := readShared(&cfg); err != nil || !maps.Equal(got, second) {
		t.Errorf("remembered %v, %v", got, err)
	}
	if all, err := os.ReadDir(cfg.DataDir); err != nil || len(all) != 1 {
		t.Errorf("left behind: %v, %v", all, err)
	}
}

func TestTokens(t *testing.T) {
	authority, err := pki.Load(pki.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	token, err := createToken(t.Context(), client, authority.CA(), time.Hour, "for a test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := createToken(t.Context(), client, nil, time.Hour, ""); err == nil || !strings.HasPrefix(err.Error(), "kubeconfig: ") {
		t.Errorf("without an authority: %v", err)
	}
	secret, err := client.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-"+token.ID, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if secret.Type != "bootstrap.kubernetes.io/token" || secret.StringData["token-secret"] != token.Secret || secret.StringData["usage-bootstrap-authentication"] != "true" ||
		secret.StringData["auth-extra-groups"] != joiningGroup {
		t.Errorf("%+v", secret)
	}
	end, err := time.Parse(time.RFC3339, secret.StringData["expiration"])
	if left := time.Until(end); err != nil || left > time.Hour || left < 59*time.Minute {
		t.Errorf("it ends in %s, %v", left, err)
	}
	as := func(id, expiration string) corev1.Secret {
		s := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Data: map[string][]byte{"token-id": []byte(id), "token-secret": []byte("0123456789abcdef")}}
		if expiration != "" {
			s.Data["expiration"] = []byte(expiration)
		}
		return s
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	if err := printTokens(&out, []corev1.Secret{as("ccc", ""), as("aaa", "2026-01-01T02:00:00Z"), as("bbb", "2025-12-31T00:00:00Z")}, now); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if want := "ID EXPIRES IN DESCRIPTION|aaa 120m|bbb expired|ccc never"; strings.Join(got, "|") != want {
		t.Errorf("%q, want %q", strings.Join(got, "|"), want)
	}
}

// A token that was typed wrongly is not repeated: its secret would be in the terminal, in logs and in the request's URL.
func TestRevokeRepeatsNoSecret(t *testing.T) {
	c := newToken()
	c.SetArgs([]string{"revoke", "skiff1::abcdef.0123456789abcdef"})
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.ExecuteContext(t.Context())
	if err == nil || strings.Contains(err.Error(), "0123456789abcdef") || !strings.Contains(err.Error(), "skiff token list") {
		t.Errorf("got %v", err)
	}
}
