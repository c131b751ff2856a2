package controllers

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// writes are numbers of requests that change something, by method, resource, and code if it tells of a failure, such as
// "PUT deployments/status" or "DELETE pods 404".
// Leases, which are renewed by the clock, are not among them.
type writes map[string]int

func (w writes) total() int {
	n := 0
	for _, v := range w {
		n += v
	}
	return n
}

// since answers what was written after before.
func (w writes) since(before writes) writes {
	out := writes{}
	for k, v := range w {
		if v != before[k] {
			out[k] = v - before[k]
		}
	}
	return out
}

// String lists them, those first of which there are most.
func (w writes) String() string {
	keys := slices.SortedFunc(maps.Keys(w), func(a, b string) int { return w[b] - w[a] })
	var out []string
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%d %s", w[k], k))
	}
	return strings.Join(out, ", ")
}

// tally counts writes as they are made. Its zero value is ready to use.
type tally struct {
	mu   sync.Mutex
	seen writes
}

func (t *tally) add(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = writes{}
	}
	t.seen[key]++
}

func (t *tally) all() writes {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.seen)
}

// counter tallies the writes that pass through it.
type counter struct {
	next   http.RoundTripper
	writes *tally
}

// RoundTrip implements http.RoundTripper.
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if key, ok := keyOf(r); ok && err == nil {
		c.writes.add(key + failure(strconv.Itoa(resp.StatusCode)))
	}
	return resp, err
}

var (
	path  = regexp.MustCompile(`^/apis?/(?:[^/]+\.[^/]+/|apps/|batch/|autoscaling/|policy/)?v[^/]+/(?:namespaces/[^/]+/)?([a-z]+)(?:/[^/]+(/[a-z]+)?)?$`)
	label = regexp.MustCompile(`(verb|resource|subresource|code)="([^"]*)"`)
)

func failure(code string) string {
	if strings.HasPrefix(code, "2") {
		return ""
	}
	return " " + code
}

func keyOf(r *http.Request) (string, bool) {
	if r.Method == http.MethodGet {
		return "", false
	}
	parts := path.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return r.Method + " " + r.URL.Path, true
	}
	return r.Method + " " + parts[1] + parts[2], parts[1] != "leases"
}

// methods are the verbs in metrics of requests that change something.
var methods = map[string]string{"POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "APPLY": "PATCH", "DELETE": "DELETE", "DELETECOLLECTION": "DELETE"}

// writes answers what the controllers have sent; what was refused counts too.
func (w *world) writes(ctx context.Context) (writes, error) {
	raw, err := w.client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	out := writes{}
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") {
			continue
		}
		labels := map[string]string{}
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			labels[m[1]] = m[2]
		}
		method, write := methods[labels["verb"]]
		if !write || labels["resource"] == "leases" {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &value); err != nil {
			return nil, fmt.Errorf("reading %q: %w", line, err)
		}
		key := method + " " + labels["resource"]
		if sub := labels["subresource"]; sub != "" {
			key += "/" + sub
		}
		out[key+failure(labels["code"])] += int(value)
	}
	for key, n := range w.own.all() {
		if out[key] -= n; out[key] == 0 {
			delete(out, key)
		}
	}
	return out, nil
}
