// Package rawapi speaks plain HTTP with an API server, for tests that look at
// what is on the wire.
package rawapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

// patience is far above what anything takes on a busy machine.
const patience = 60 * time.Second

// API speaks HTTP with a server.
type API struct {
	client *http.Client
	base   string
}

// New speaks as the client of the configuration does.
func New(t testing.TB, c *rest.Config) *API {
	t.Helper()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	base, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		t.Fatal(err)
	}
	return &API{client, strings.TrimSuffix(base.String(), "/")}
}

// Answer is what came back; Object is nil if it is no JSON.
type Answer struct {
	Code   int
	Header http.Header
	Body   string
	Object map[string]any
}

// Send makes one request. A body is YAML unless a Content-Type header says otherwise.
func (a *API) Send(ctx context.Context, method, path, body string, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/yaml")
	}
	r.Header.Set("Accept", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return a.client.Do(r)
}

// Do sends a request until the answer is not to come again later.
func (a *API) Do(t testing.TB, method, path, body string, header ...string) Answer {
	t.Helper()
	var res *http.Response
	Eventually(t, method+" "+path+" is answered", func() (bool, string) {
		var err error
		if res, err = a.Send(t.Context(), method, path, body, header...); err != nil {
			t.Fatal(err)
		}
		if res.Header.Get("Retry-After") != "" { // while a changed definition's storage is replaced
			res.Body.Close()
			return false, res.Status
		}
		return true, ""
	})
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := Answer{Code: res.StatusCode, Header: res.Header, Body: string(data)}
	_ = json.Unmarshal(data, &out.Object) // some answers are no JSON
	return out
}

// Must is do for requests that have to succeed.
func (a *API) Must(t testing.TB, method, path, body string, header ...string) Answer {
	t.Helper()
	out := a.Do(t, method, path, body, header...)
	if out.Code >= http.StatusBadRequest {
		t.Fatalf("%s %s: %d %s", method, path, out.Code, out.Body)
	}
	return out
}

// Watch hands over the events of a watch; the channel closes when it ends.
func (a *API) Watch(ctx context.Context, t *testing.T, path string, header ...string) <-chan map[string]any {
	t.Helper()
	res, err := a.Send(ctx, "GET", path, "", header...)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("watching %s: %s", path, res.Status)
	}
	events := make(chan map[string]any, 100)
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		defer close(events)
		defer res.Body.Close()
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				events <- e
			}
		}
	}()
	return events
}

// Eventually asks until ok, for a while.
func Eventually(t testing.TB, what string, ask func() (ok bool, got string)) {
	t.Helper()
	var last string
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		var ok bool
		ok, last = ask()
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting until %s: %.600s", what, last)
	}
}

// At follows dots and list indexes: "spec.list.0.name". Nothing there is nil.
func At(o any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch v := o.(type) {
		case map[string]any:
			o = v[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(v) {
				return nil
			}
			o = v[i]
		default:
			return nil
		}
	}
	return o
}

// Flat is v as one line of JSON with sorted keys.
func Flat(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}
