package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/apis/server"
	"skiff/test/env"
)

// TestStoppingServer serves while /readyz already fails, and lets a write that
// has begun end.
func TestStoppingServer(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Limits.ShutdownDelay = 3 * time.Second }})
	client, ctx := kubernetes.NewForConfigOrDie(s.Remote("alice", "system:masters")), t.Context()
	stile := newTurnstile(t, kubernetes.NewForConfigOrDie(s.Admin()))
	var all sync.WaitGroup
	all.Go(func() { writeUntilHeld(ctx, t, client, stile) })
	eventually(t, "the write waits", func() (bool, error) { return stile.waiting.Load() > 0, nil })
	all.Go(s.Stop)
	eventually(t, "/readyz fails", func() (bool, error) {
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").DoRaw(ctx)
		return apierrors.IsInternalError(err) && strings.Contains(string(body), "[-]shutdown failed"), err
	})
	if body, err := client.Discovery().RESTClient().Get().AbsPath("/livez").DoRaw(ctx); err != nil || string(body) != "ok" {
		t.Errorf("/livez: %q %v", body, err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("a read: %v", err)
	}
	close(stile.pass)
	all.Wait()
}

// writeUntilHeld keeps creating config maps until one waits in the turnstile: the
// server learns of the webhook a little later.
func writeUntilHeld(ctx context.Context, t *testing.T, client kubernetes.Interface, stile *turnstile) {
	for stile.waiting.Load() == 0 {
		if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}}, metav1.CreateOptions{}); err != nil {
			t.Errorf("a write: %v", err)
			return
		}
	}
}

// TestStoppingServerRetryAfter answers new requests with 429 while a write that
// has begun ends.
func TestStoppingServerRetryAfter(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Limits.ShutdownRetryAfter = true }})
	client, ctx := kubernetes.NewForConfigOrDie(s.Remote("alice", "system:masters")), t.Context()
	transport, err := rest.TransportFor(s.Remote("bob", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	stile := newTurnstile(t, kubernetes.NewForConfigOrDie(s.Admin()))
	var all sync.WaitGroup
	all.Go(func() { writeUntilHeld(ctx, t, client, stile) })
	eventually(t, "the write waits", func() (bool, error) { return stile.waiting.Load() > 0, nil })
	all.Go(s.Stop)
	eventually(t, "a read is turned away", func() (bool, error) {
		resp, err := get(ctx, transport, s.URL()+"/api/v1/namespaces/default/configmaps")
		if err != nil {
			return false, err
		}
		return resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "", nil
	})
	close(stile.pass)
	all.Wait()
}

// TestStoppingServerEndsWatches waits for watches, which end as they do when
// their time is over.
func TestStoppingServerEndsWatches(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Limits.ShutdownWatchGrace = time.Minute }})
	transport, err := rest.TransportFor(s.Remote("alice", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/api/v1/configmaps?watch=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.Stop()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the watch ends with %v", err)
	}
}

// get answers what the path says, the body aside.
func get(ctx context.Context, transport http.RoundTripper, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, errors.Join(err, resp.Body.Close())
}

// TestSlowClient sends half a body and waits: the server doesn't.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Limits.RequestTimeout = 2 * time.Second }})
	config, err := rest.TLSConfigFor(s.Remote("alice", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = nil
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", s.API.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"slow"}}`
	if _, err := fmt.Fprintf(conn, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		s.API.Addr(), len(body), body[:20]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var status metav1.Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil || resp.StatusCode != http.StatusGatewayTimeout || status.Reason != metav1.StatusReasonTimeout {
		t.Errorf("%d %+v %v, want a Timeout", resp.StatusCode, status, err)
	}
}

// TestProfiling serves profiles to those who may read them, and to whom may
// open the socket.
func TestProfiling(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	s := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Profiling.Socket = socket }})
	off := env.Start(t, env.Options{Configure: func(c *server.Config) { c.Profiling.Enabled = false }})
	unix := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer unix.CloseIdleConnections()
	eventually(t, "the socket serves", func() (bool, error) {
		resp, err := get(t.Context(), unix, "http://socket/debug/pprof/goroutine?debug=1")
		return err == nil && resp.StatusCode == http.StatusOK, err
	})
	for name, tc := range map[string]struct {
		config *rest.Config
		want   int
	}{
		"an administrator": {s.Config("root", "system:masters"), http.StatusOK},
		"another":          {s.Config("alice"), http.StatusForbidden},
		"off":              {off.Config("root", "system:masters"), http.StatusNotFound},
	} {
		transport, err := rest.TransportFor(tc.config)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := get(t.Context(), transport, "https://server/debug/pprof/goroutine?debug=1")
		if err != nil || resp.StatusCode != tc.want {
			t.Errorf("%s: %v %v, want %d", name, resp, err, tc.want)
		}
	}
}
