package loopback_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"skiff/apis/server/loopback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve returns a client of the handler under an identity.
func serve(t *testing.T, h http.HandlerFunc) http.RoundTripper {
	t.Helper()
	tr := loopback.New()
	t.Cleanup(tr.Close)
	tr.Serve(h)
	return tr.Config("alice", "devs").Transport
}

func request(t *testing.T, ctx context.Context, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://in-process/path?q=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestRoundTrip(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, ok := loopback.User(r.Context())
		if !ok {
			t.Error("no identity")
			return
		}
		w.Header().Set("X-User", id.GetName()+" "+strings.Join(id.GetGroups(), ","))
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "ignored")
		fmt.Fprintf(w, "%s %s", r.RequestURI, body)
	})
	resp, err := client.RoundTrip(request(t, t.Context(), "hello"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTeapot || string(body) != "/path?q=1 hello" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if got := resp.Header.Get("X-User"); got != "alice devs,system:authenticated" {
		t.Errorf("identity %q", got)
	}
	if resp.Header.Get("X-Late") != "" {
		t.Error("a header set after WriteHeader reached the client")
	}
}

func TestNetworkRequestHasNoIdentity(t *testing.T) {
	if _, ok := loopback.User(t.Context()); ok {
		t.Error("a plain context has an identity")
	}
}

// A handler that asks the server itself passes its own context on.
func TestValuesStayWithTheCaller(t *testing.T) {
	type key struct{}
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(key{}) != nil {
			t.Error("the request has a value of its caller's context")
		}
		w.WriteHeader(http.StatusNoContent)
	})
	resp, err := client.RoundTrip(request(t, context.WithValue(t.Context(), key{}, "caller"), ""))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func TestStream(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "event %d\n", i); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	})
	resp, err := client.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 10000 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("event %d", i) {
			t.Fatalf("line %d: %q, %v", i, lines.Text(), lines.Err())
		}
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// A handler that nobody reads is held up, and let go when the client leaves.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written atomic.Int64
		ended := make(chan error, 1)
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			chunk := make([]byte, 10<<10)
			for {
				n, err := w.Write(chunk)
				written.Add(int64(n))
				if err != nil {
					ended <- err
					return
				}
			}
		})
		resp, err := client.RoundTrip(request(t, t.Context(), ""))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		held := written.Load()
		if held == 0 || held > 1<<20 {
			t.Errorf("an unread handler wrote %d bytes", held)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, held); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if written.Load() <= held {
			t.Error("the handler did not go on after its output was read")
		}
		resp.Body.Close()
		if err := <-ended; err == nil {
			t.Error("the handler's write succeeded after the client left")
		}
	})
}

func TestLargeWritePassesWhole(t *testing.T) {
	want := slices.Repeat([]byte("x"), 3<<20)
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	resp, err := client.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || len(got) != len(want) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestCancelBeforeAnswer(t *testing.T) {
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.RoundTrip(request(t, ctx, "")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	client := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := client.RoundTrip(request(t, t.Context(), "")); err == nil {
		t.Error("a panic answered")
	}
}

func TestPanicMidwayBreaksTheBody(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	resp, err := client.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "part" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestBeforeServeAndAfterClose(t *testing.T) {
	tr := loopback.New()
	client := tr.Config("bob").Transport
	if _, err := client.RoundTrip(request(t, t.Context(), "")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("before: %v", err)
	}
	tr.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	resp, err := client.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	tr.Close() // returns only when the handler has
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the stream of a closed transport ended well")
	}
	if _, err := client.RoundTrip(request(t, t.Context(), "")); err == nil {
		t.Error("a closed transport answered")
	}
}
