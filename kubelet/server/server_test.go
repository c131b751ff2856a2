package server

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

func TestWhoMayAsk(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.allow = func(spec authorizationv1.SubjectAccessReviewSpec) bool {
		a := spec.ResourceAttributes
		if a.Resource != "nodes" || a.Name != "node-1" {
			return false
		}
		switch spec.User {
		case "admin":
			return contains(spec.Groups, "system:authenticated") && contains(spec.Groups, "ops")
		case "scraper":
			return a.Verb == "get" && a.Subresource == "metrics"
		case "prober":
			return a.Subresource == "healthz"
		case "old-prober":
			return a.Subresource == "proxy"
		}
		return false
	}
	stranger := n.config("admin", "ops")
	stranger.CertData, stranger.KeyData = newAuthority(t).issue(t, 3, pkix.Name{CommonName: "admin", Organization: []string{"ops"}}, x509.ExtKeyUsageClientAuth)
	server := n.config("")
	server.CertData, server.KeyData = n.ca.issue(t, 4, pkix.Name{CommonName: "admin", Organization: []string{"ops"}}, x509.ExtKeyUsageServerAuth)
	for name, c := range map[string]struct {
		config *rest.Config
		path   string
		code   int
		body   string
	}{
		"nobody":                            {n.config(""), "/pods", 401, "Unauthorized"},
		"a certificate of another":          {stranger, "/pods", 401, "Unauthorized"},
		"a certificate for servers":         {server, "/pods", 401, "Unauthorized"},
		"a bad token":                       {n.config("token:bad"), "/pods", 401, "Unauthorized"},
		"an administrator":                  {n.config("admin", "ops"), "/healthz", 200, "ok"},
		"without the group":                 {n.config("admin"), "/pods", 403, "Forbidden (user=admin, verb=get, resource=nodes, subresource(s)=[pods proxy])"},
		"a token":                           {n.config("token:good-scraper"), "/metrics/probes", 200, ""},
		"a token for other things":          {n.config("token:good-scraper"), "/configz", 403, "Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[configz proxy])"},
		"only what is needed":               {n.config("token:good-prober"), "/healthz", 200, "ok"},
		"all that it was once":              {n.config("token:good-old-prober"), "/healthz", 200, "ok"},
		"the proxy for everything else":     {n.config("token:good-old-prober"), "/containerLogs/shop/web/main", 500, ""},
		"a prober reading logs":             {n.config("token:good-prober"), "/containerLogs/shop/web/main", 403, "Forbidden (user=prober, verb=get, resource=nodes, subresource(s)=[proxy])"},
		"an unknown path to one who may":    {n.config("admin", "ops"), "/unknown", 404, "404 page not found"},
		"an unknown path to one who mayn't": {n.config("token:good-prober"), "/unknown", 403, ""},
	} {
		code, body := n.get(c.config, c.path)
		if code != c.code || c.body != "" && strings.TrimSpace(body) != c.body {
			t.Errorf("%s gets %d %q, want %d %q", name, code, body, c.code, c.body)
		}
	}
	before := n.reviews.Load()
	n.get(n.config("token:good-scraper"), "/metrics/probes")
	if asked := n.reviews.Load() - before; asked != 0 {
		t.Errorf("the API was asked %d times again", asked)
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if got := n.servedSerial(); got != 2 {
		t.Fatalf("serves certificate %d", got)
	}
	n.writeServing(7)
	for deadline := time.Now().Add(5 * time.Second); n.servedSerial() != 7; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not served")
		}
	}
	// Half a renewal: what was read before stays in use.
	if err := os.WriteFile(n.file("tls.crt"), []byte("being written"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lookInterval + 50*time.Millisecond)
	if got := n.servedSerial(); got != 7 {
		t.Errorf("serves certificate %d", got)
	}
}

func TestPlainAnswers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	admin := n.config("admin")
	_, body := n.get(admin, "/pods")
	var list corev1.PodList
	if err := json.Unmarshal([]byte(body), &list); err != nil || list.Kind != "PodList" || list.APIVersion != "v1" || len(list.Items) != 1 || list.Items[0].Name != "web" {
		t.Errorf("/pods answers %s (%v)", body, err)
	}
	if _, body := n.get(admin, "/configz"); body != `{"kubeletconfig":{"kind":"KubeletConfiguration"}}` {
		t.Errorf("/configz answers %s", body)
	}
	var summary statsapi.Summary
	if _, body := n.get(admin, "/stats/summary?only_cpu_and_memory=true"); json.Unmarshal([]byte(body), &summary) != nil || summary.Node.Fs != nil || summary.Pods[0].Containers[0].CPU == nil {
		t.Errorf("/stats/summary answers %s", body)
	}
	if _, body := n.get(admin, "/stats/summary"); json.Unmarshal([]byte(body), &summary) != nil || summary.Node.Fs == nil {
		t.Errorf("/stats/summary answers %s", body)
	}
	n.healthy = errors.New("the runtime is away")
	if code, body := n.get(admin, "/healthz"); code != 500 || !strings.Contains(body, "the runtime is away") {
		t.Errorf("/healthz answers %d %s", code, body)
	}
	if code, _ := n.get(admin, "/logs/"); code != http.StatusMethodNotAllowed {
		t.Errorf("/logs/ answers %d", code)
	}
	if code, body := n.do(admin, http.MethodPost, "/run/shop/web/main?cmd=a+b"); code != 200 || body != "main ran a,b" {
		t.Errorf("/run answers %d %s", code, body)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	admin := n.config("admin")
	for path, want := range map[string][]string{
		"/metrics": {`kubelet_running_pods 1`, `kubelet_node_name{node="node-1"} 1`, `kubelet_running_containers{container_state="running"} 1`, "go_goroutines"},
		"/metrics/resource": {
			`node_cpu_usage_seconds_total 2.5 1700000000000`, `pod_memory_working_set_bytes{namespace="shop",pod="web"} 1024 1700000000000`,
			`container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web"} 2.5 1700000000000`,
			`container_start_time_seconds{container="main",namespace="shop",pod="web"} 1.7e+09 1700000000000`, `resource_scrape_error 0`,
		},
		"/metrics/cadvisor": {`container_memory_working_set_bytes{container="main",`, `container_network_receive_bytes_total{interface="eth0",`, `machine_memory_bytes 2048`},
		"/metrics/probes":   nil,
	} {
		code, body := n.get(admin, path)
		if code != 200 {
			t.Errorf("%s answers %d %s", path, code, body)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, line := range want {
			if !strings.Contains(body, line) {
				t.Errorf("%s lacks %s:\n%.2000s", path, line, body)
			}
		}
	}
}

func TestContainerLogs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	admin := n.config("admin")
	if err := os.WriteFile(n.logPath, []byte("2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]struct {
		code int
		body string
	}{
		"web/main":                                {200, "one\ntwo\n"},
		"web/main?tailLines=1&timestamps=true":    {200, "2026-01-01T00:00:02.000000000Z two\n"},
		"web/main?limitBytes=5":                   {200, "one\nt"},
		"web/main?stream=Stderr":                  {200, "two\n"},
		"web/main?sinceTime=2026-01-01T00:00:02Z": {200, "two\n"},
		"web/main?tailLines=-1":                   {422, `tailLines: Invalid value: "-1": must be a number of at least 0`},
		"web/main?sinceTime=yesterday":            {422, ""},
		"web/main?stream=Stdin":                   {422, `stream: Unsupported value: "Stdin"`},
		"web/main?previous=true":                  {400, `previous terminated container "main" in pod "web" not found`},
		"web/slow":                                {400, `container "slow" in pod "web" is waiting to start: ContainerCreating`},
		"web/none":                                {404, `container "none" not found in pod "shop/web"`},
		"gone/main":                               {404, `pod "shop/gone" does not exist`},
	} {
		code, body := n.get(admin, "/containerLogs/shop/"+query)
		if code != want.code || want.body != "" && body != want.body {
			t.Errorf("%s answers %d %q, want %d %q", query, code, body, want.code, want.body)
		}
	}
}

func TestLogsAreFollowed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if err := os.WriteFile(n.logPath, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := n.config("admin")
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+"/containerLogs/shop/web/main?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewReader(response.Body)
	file, err := os.OpenFile(n.logPath, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for i := range 3 {
		if _, err := fmt.Fprintf(file, "2026-01-01T00:00:01Z stdout F %d\n", i); err != nil {
			t.Fatal(err)
		}
		if got, err := lines.ReadString('\n'); err != nil || got != fmt.Sprintf("%d\n", i) {
			t.Fatalf("line %d is %q (%v)", i, got, err)
		}
	}
	n.running.Store(false)
	if more, err := io.ReadAll(lines); err != nil || len(more) > 0 {
		t.Errorf("after the end: %q, %v", more, err)
	}
}

func (n *node) url(path string, query url.Values) *url.URL {
	return &url.URL{Scheme: "https", Host: n.address, Path: path, RawQuery: query.Encode()}
}

func TestExecAndAttachOverBothProtocols(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	query := url.Values{"command": {"cat", "-"}, "input": {"1"}, "output": {"1"}, "error": {"1"}}
	config := n.config("token:good-admin")
	for path, told := range map[string]string{
		"/exec/shop/web/main": "main: cat -", "/exec/shop/web/u-1/main": "main: cat -", "/attach/shop/web/main": "main: attached",
	} {
		spdyExec, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, n.url(path, query))
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		err = spdyExec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errOut})
		if err != nil || out.String() != "hello" || errOut.String() != told {
			t.Errorf("%s over SPDY: %q and %q, %v", path, out.String(), errOut.String(), err)
		}
	}
	query = url.Values{"command": {"id"}, "output": {"1"}, "error": {"1"}}
	webSocket, err := remotecommand.NewWebSocketExecutorForProtocols(config, http.MethodGet, n.url("/exec/shop/web/main", query).String(), "v5.channel.k8s.io", "v4.channel.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if err := webSocket.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut}); err != nil || errOut.String() != "main: id" {
		t.Errorf("over WebSocket: %q and %q, %v", out.String(), errOut.String(), err)
	}
	for path, want := range map[string]string{
		"/exec/shop/web/other/main?output=1": "pod does not exist",
		"/exec/shop/web/none?output=1":       `container not found ("none")`,
		"/exec/shop/web/main":                "you must specify at least 1 of stdin, stdout, stderr",
		"/portForward/shop/web?port=0":       `port "0" is invalid`,
	} {
		if code, body := n.get(config, path); code < 400 || body != want {
			t.Errorf("%s answers %d %q, want %q", path, code, body, want)
		}
	}
}

func TestPortForward(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	transport, upgrader, err := spdy.RoundTripperFor(n.config("admin"))
	if err != nil {
		t.Fatal(err)
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, n.url("/portForward/shop/web", nil))
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, "8080")
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	failures, err := connection.CreateStream(headers)
	if err != nil {
		t.Fatal(err)
	}
	if err := failures.Close(); err != nil {
		t.Fatal(err)
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := data.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("web:8080 ping"))
	if _, err := io.ReadFull(data, answer); err != nil || string(answer) != "web:8080 ping" {
		t.Errorf("the port answers %q (%v)", answer, err)
	}
}

func TestRunEndsOpenStreams(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if err := os.WriteFile(n.logPath, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := n.config("admin")
	exec, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, n.url("/exec/shop/web/main", url.Values{"command": {"cat"}, "input": {"1"}, "output": {"1"}}))
	if err != nil {
		t.Fatal(err)
	}
	input, typed := io.Pipe()
	output, shown := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: input, Stdout: shown})
		_ = shown.Close()
		_ = input.Close()
	}()
	if _, err := typed.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(output, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	n.stop()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("ending took %v", took)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the client's stream goes on")
	}
	_ = typed.Close()
}

// TestUnsettled asks a node that does not know its pods yet.
func TestUnsettled(t *testing.T) {
	t.Parallel()
	settled := make(chan struct{})
	s := &Server{deps: Deps{Settled: settled}}
	answered := make(chan struct{})
	handler := s.settled(func(http.ResponseWriter, *http.Request) { close(answered) })
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		handler(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/pods", nil))
	})
	select {
	case <-answered:
		t.Error("answered before the pods were known")
	case <-time.After(50 * time.Millisecond):
	}
	close(settled)
	<-answered
}
