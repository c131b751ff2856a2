package main

import (
	"net"
	"strconv"
	"strings"
	"testing"
)

// TestPortsOfIngresses: a port that was given is held or refused; the default is looked at, and left to who has it.
func TestPortsOfIngresses(t *testing.T) {
	t.Parallel()
	const host = "127.102.0.1"
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	busy := taken.Addr().(*net.TCPAddr).Port
	if l, err := listenForIngress(t.Context(), "ingress-http-port", host, busy, false); l != nil || err != nil {
		t.Errorf("a default port that is taken: %v %v", l, err)
	}
	_, err = listenForIngress(t.Context(), "ingress-http-port", host, busy, true)
	if err == nil || !strings.Contains(err.Error(), "ingress-http-port: "+host+":"+strconv.Itoa(busy)+" is in use: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a given port that is taken: %v", err)
	}
	_ = taken.Close()
	if l, err := listenForIngress(t.Context(), "ingress-http-port", host, busy, false); l != nil || err != nil {
		t.Errorf("a default port that is free: %v %v", l, err)
	}
	l, err := listenForIngress(t.Context(), "ingress-http-port", host, busy, true)
	if err != nil {
		t.Fatalf("a given port that is free: %v", err)
	}
	_ = l.Close()
	if l, err := listenForIngress(t.Context(), "ingress-http-port", host, 0, true); l != nil || err != nil {
		t.Errorf("no port: %v %v", l, err)
	}
}

func TestChosenPorts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file        string
		args        []string
		http, https bool
	}{
		"none":           {"", nil, false, false},
		"by flag":        {"", []string{"--ingress-http-port=80"}, true, false},
		"in the file":    {"ingress-https-port: 8443", nil, false, true},
		"in both places": {"ingress-http-port: 81", []string{"--ingress-http-port=82"}, true, false},
	} {
		s, err := parse(t, c.file, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		if s.Ingress.ChosenHTTP != c.http || s.Ingress.ChosenHTTPS != c.https {
			t.Errorf("%s: %+v", name, s.Ingress)
		}
	}
	for _, args := range [][]string{{"--ingress-http-port=-1"}, {"--ingress-https-port=80"}, {"--ingress-http-port=6443"}, {"--ingress-body-limit=much"}} {
		if _, err := parse(t, "", args...); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
