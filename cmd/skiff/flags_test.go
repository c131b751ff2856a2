package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parse reads a command line and a configuration file as a server would.
func parse(t *testing.T, file string, args ...string) (*settings, error) {
	t.Helper()
	var s settings
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	s.bind(flags)
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := flags.Parse(append([]string{"--config=" + path}, args...)); err != nil {
		return nil, err
	}
	return &s, s.load(flags)
}

func TestFileAndFlags(t *testing.T) {
	s, err := parse(t, "port: 7000\nno-node: true\ntls-san: [a.test, 192.0.2.1]\nnode-name: file\nkubeconfig:\n", "--node-name=flag")
	if err != nil {
		t.Fatal(err)
	}
	if s.Port != 7000 || !s.NoNode || s.NodeName != "flag" || s.Kubeconfig != "" || !slices.Equal(s.TLSSANs, []string{"a.test", "192.0.2.1"}) {
		t.Errorf("got %+v", s.Config)
	}
	if s, err = parse(t, "oidc-required-claim: ['team=a,b', tenant=c]\noidc-issuer-url: https://i\noidc-client-id: x"); err != nil || !slices.Equal(s.Authentication.OIDC.RequiredClaims, []string{"team=a,b", "tenant=c"}) {
		t.Errorf("a list whose items hold commas: %v", err)
	}
	if s, err = parse(t, "api-only: true"); err != nil || !s.APIOnly || !s.NoNode {
		t.Errorf("the API alone: %v %+v", err, s.Config)
	}
	if s, err = parse(t, ""); err != nil || s.Port != 6443 {
		t.Errorf("empty file: %v %+v", err, s.Config)
	}
}

func TestBadFiles(t *testing.T) {
	for file, wants := range map[string][]string{
		"prot: 1":                  {"config.yaml:1", `unknown key "prot"`, `did you mean "port"?`},
		"zzzzzzzzzzzz: 1":          {"unknown key", "--help"},
		"config: /x":               {"unknown key"},
		"port: 1\nport: 2":         {"config.yaml:2", "twice"},
		"port: [1, 2]":             {"config.yaml:1", "port", "not a int"},
		"port: {a: b}":             {"port", "plain value"},
		"tls-san: [{a: b}]":        {"tls-san", "plain values only"},
		"- a":                      {"config.yaml:1", "not a mapping"},
		"a: [":                     {"config.yaml", "mend the YAML"},
		"service-cidr: 10.96.0/16": {"service-cidr", "not a range"},
	} {
		_, err := parse(t, file)
		if err == nil {
			t.Errorf("%q was accepted", file)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q does not say %q", file, err, want)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q is more than a line", file, err)
		}
	}
}

// TestEveryFieldIsAFlag sets each flag to something else than its default and
// expects the configuration to change, so that none is bound twice or not at all.
func TestEveryFieldIsAFlag(t *testing.T) {
	values := map[string]string{"string": "x", "int": "77", "bool": "true", "stringSlice": "x", "stringArray": "x", "duration": "77s", "int64": "77", "float32": "0.7", "float64": "0.7"}
	var names pflag.FlagSet
	(&settings{}).bind(&names)
	seen := map[string]string{}
	names.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return
		}
		var s settings
		flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
		s.bind(flags)
		before := describe(s)
		value := values[f.Value.Type()]
		if f.DefValue == value {
			value = "false"
		}
		if err := flags.Set(f.Name, value); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		after := describe(s)
		if before == after {
			t.Errorf("--%s changes nothing", f.Name)
		}
		if other, ok := seen[after]; ok {
			t.Errorf("--%s and --%s set the same field", f.Name, other)
		}
		seen[after] = f.Name
	})
}

func TestFlagValues(t *testing.T) {
	s, err := parse(t, "port: 7000\ntls-san: [a.test]\n", "--audit-log-maxage=7")
	if err != nil {
		t.Fatal(err)
	}
	got := flagValues(&s.Config)
	for name, want := range map[string]string{"port": "7000", "tls-san": "[a.test]", "audit-log-maxage": "7", "cni": "bridge", "request-timeout": "1m0s"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

func describe(s settings) string { return fmt.Sprintf("%+v", s.Config) }
