package config

import (
	"errors"
	"strings"
	"testing"
)

func TestAgent(t *testing.T) {
	token := "skiff1" + strings.Repeat("0a", 32) + "::abc123.0123456789abcdef"
	for name, tt := range map[string]struct {
		agent Agent
		key   string
	}{
		"joined":     {Agent{Server: "https://192.0.2.10:6443"}, ""},
		"joining":    {Agent{Server: "https://[2001:db8::1]:6443/", Token: token}, ""},
		"no server":  {Agent{Token: token}, "server"},
		"no scheme":  {Agent{Server: "192.0.2.10:6443"}, "server"},
		"plain HTTP": {Agent{Server: "http://192.0.2.10:6443"}, "server"},
		"a path":     {Agent{Server: "https://192.0.2.10:6443/api"}, "server"},
		"no pin":     {Agent{Server: "https://192.0.2.10:6443", Token: "abc123.0123456789abcdef"}, "token"},
	} {
		err := tt.agent.Validate()
		var found *Error
		if tt.key == "" && err != nil || tt.key != "" && (!errors.As(err, &found) || found.Key != tt.key) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && tt.agent.Token != "" && strings.Contains(err.Error(), tt.agent.Token) {
			t.Errorf("%s: the token is told: %v", name, err)
		}
	}
	if got := (&Agent{Server: "https://host:6443/"}).URL().String(); got != "https://host:6443" {
		t.Errorf("URL %s", got)
	}
}

func TestNodeLabels(t *testing.T) {
	for label, good := range map[string]bool{
		"a=b": true, "example.com/zone=x": true, "topology.kubernetes.io/zone=z": true, "node.kubernetes.io/any=1": true, "a.kubelet.kubernetes.io/x=1": true, "a=": true,
		"a": false, "=b": false, "a=b c": false, "kubernetes.io/hostname=x": false, "node-role.kubernetes.io/control-plane=": false, "x.k8s.io/a=b": false,
	} {
		c := Default()
		c.NodeLabels = []string{label}
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", label, err)
		}
	}
	c := Config{NodeLabels: []string{"a=b=c", "d="}}
	if got := c.Labels(); len(got) != 2 || got["a"] != "b=c" || got["d"] != "" {
		t.Errorf("labels %v", got)
	}
}
