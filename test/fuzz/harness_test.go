package fuzz

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skiff/test/env"
)

const (
	jsonType     = "application/json"
	yamlType     = "application/yaml"
	protobufType = "application/vnd.kubernetes.protobuf"
	cborType     = "application/cbor"
)

// faults are in server errors that are none of the server.
func faults() []string {
	return []string{
		"failed to create typed patch object", // an applied object that does not fit the schema
		"etcdserver: request timed out",       // a disk that is busy for seconds
	}
}

// atFault reports whether a server error is one of the faults.
func (a answer) atFault() bool {
	return slices.ContainsFunc(faults(), func(f string) bool { return strings.Contains(string(a.body), f) })
}

// target is a server that a fuzz target writes to.
type target struct {
	transport http.RoundTripper
	server    *env.Server
	kinds     []kind
}

// kind is where objects go, with an object that goes there.
type kind struct {
	path   string
	object map[string]any
}

func (k kind) json() []byte {
	data, err := json.Marshal(k.object)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return data
}

// start returns a server with the namespaces that the seeds are in. A process
// that only hands out work needs none: the target is then without a server.
func start(f *testing.F) *target {
	t := &target{kinds: recordedKinds(f)}
	if coordinates() {
		return t
	}
	t.server = env.Start(f, env.Options{})
	t.transport = t.server.Admin().Transport
	for _, namespace := range namespaces(t.kinds) {
		t.create(f, "/api/v1/namespaces", `{"metadata":{"name":"`+namespace+`"}}`)
		t.create(f, "/api/v1/namespaces/"+namespace+"/serviceaccounts", `{"metadata":{"name":"default"}}`)
	}
	return t
}

// coordinates reports whether this process only hands inputs to others.
func coordinates() bool {
	set := func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && f.Value.String() != f.DefValue
	}
	return set("test.fuzz") && !set("test.fuzzworker")
}

// create makes an object that the inputs are about.
func (t *target) create(tb testing.TB, path, body string) {
	tb.Helper()
	if a := t.send(tb, "POST", path, []byte(body), jsonType); a.code != http.StatusCreated && a.code != http.StatusConflict {
		tb.Fatalf("POST %s: %d %s", path, a.code, a.body)
	}
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// send makes a request. A server error or a panic fails the test.
func (t *target) send(tb testing.TB, method, path string, body []byte, contentType string, accept ...string) answer {
	tb.Helper()
	a := t.do(tb, method, path, body, contentType, accept...)
	if a.code >= http.StatusInternalServerError && !a.atFault() {
		tb.Fatalf("%s %s (%s): %d %s", method, path, contentType, a.code, a.body)
	}
	return a
}

// sendAny makes a request whose faults Kubernetes may tell as its own: many of a
// strategic merge patch, or another server that does not answer. A panic fails
// the test.
func (t *target) sendAny(tb testing.TB, method, path string, body []byte, contentType string) answer {
	tb.Helper()
	a := t.do(tb, method, path, body, contentType)
	if a.code == http.StatusInternalServerError && strings.Contains(string(a.body), "panic") {
		tb.Fatalf("%s %s: %d %s", method, path, a.code, a.body)
	}
	return a
}

func (t *target) do(tb testing.TB, method, path string, body []byte, contentType string, accept ...string) answer {
	tb.Helper()
	u, err := url.Parse("http://in-process" + path)
	if err != nil {
		return answer{code: http.StatusBadRequest} // no client could ask for it
	}
	req := (&http.Request{Method: method, URL: u, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}).WithContext(tb.Context())
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", strings.Join(append(slices.Clone(accept), jsonType), ","))
	resp, err := t.transport.RoundTrip(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

// refused reports whether the answer is an error, and fails the test unless the
// error is a Status that says what is wrong.
func (a answer) refused(tb testing.TB) bool {
	tb.Helper()
	if a.code < http.StatusBadRequest {
		return false
	}
	var s struct{ Kind, Message, Reason string }
	if err := json.Unmarshal(a.body, &s); err != nil || s.Kind != "Status" || s.Message == "" {
		tb.Errorf("%d with %q is no Status", a.code, a.body)
	}
	return true
}

// recordedKinds reads the first request of each kind that creates something.
func recordedKinds(tb testing.TB) (out []kind) {
	files, err := filepath.Glob(filepath.Join("..", "golden", "testdata", "cases", "*.jsonl.gz"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings: %v", err)
	}
	slices.Sort(files)
	for _, file := range files {
		if k, ok := firstOf(tb, file); ok {
			out = append(out, k)
		}
	}
	return out
}

func firstOf(tb testing.TB, file string) (kind, bool) {
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	d := json.NewDecoder(z)
	var head struct {
		Bases map[string]map[string]any `json:"bases"`
	}
	if err := d.Decode(&head); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	for {
		var e struct {
			Method, Path, Base string
			Code               int
		}
		if d.Decode(&e) != nil {
			return kind{}, false
		}
		path, _, _ := strings.Cut(e.Path, "?")
		if e.Method == http.MethodPost && e.Code == http.StatusCreated && head.Bases[e.Base] != nil {
			return kind{path, head.Bases[e.Base]}, true
		}
	}
}

func namespaces(kinds []kind) (out []string) {
	for _, k := range kinds {
		if _, rest, ok := strings.Cut(k.path, "/namespaces/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// of chooses a kind.
func (t *target) of(n uint8) kind { return t.kinds[int(n)%len(t.kinds)] }

// validations are the levels of strictness, by number.
func validation(n uint8) string {
	return "dryRun=All&fieldValidation=" + []string{"Ignore", "Warn", "Strict"}[n%3]
}
