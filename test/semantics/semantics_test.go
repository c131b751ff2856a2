package semantics

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"skiff/test/env"
	"skiff/test/rawapi"
)

var record = flag.String("record", "", "kubeconfig of an empty kube-apiserver; its answers become the recording")

// patience bounds a request that should end by itself.
const patience = 20 * time.Second

// settling bounds the lag of the server's caches.
const settling = 5 * time.Second

// answer is what is compared.
type answer struct {
	Code   int               `json:"code"`
	Header map[string]string `json:"header,omitempty"`
	Body   any               `json:"body,omitempty"`
	Events []any             `json:"events,omitempty"`
}

func TestSemantics(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.steps"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no steps: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".steps")
		t.Run(name, func(t *testing.T) {
			if *record == "" {
				t.Parallel()
			}
			steps, err := readSteps(file)
			if err != nil {
				t.Fatal(err)
			}
			run(t, name, steps, config(t))
		})
	}
}

func config(t *testing.T) *rest.Config {
	t.Helper()
	if *record == "" {
		return env.Start(t, env.Options{}).Remote("admin", "system:masters")
	}
	c, err := clientcmd.BuildConfigFromFlags("", *record)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func run(t *testing.T, name string, steps []step, c *rest.Config) {
	t.Helper()
	path := filepath.Join("testdata", name+".answers")
	want := map[string]json.RawMessage{}
	if *record == "" {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	p := &player{api: rawapi.New(t, c), anonymous: rawapi.New(t, rest.AnonymousClientConfig(c)), places: places{}, captured: map[string]string{}}
	var lines []string
	for _, s := range steps {
		reason := kept()[name+": "+s.name]
		wanted := ""
		if *record == "" && reason == "" {
			wanted = compact(want[s.name])
		}
		a, data, err := p.settled(t.Context(), s, wanted)
		if err != nil {
			t.Fatalf("%s: %.300s; the last answer was %.1000s", s.name, err.Error(), fmt.Sprint(a))
		}
		if *record != "" {
			t.Logf("%s: %.1500s", s.name, data)
			lines = append(lines, fmt.Sprintf("%s: %s", quoted(s.name), data))
			continue
		}
		got, want := string(data), compact(want[s.name])
		switch {
		case reason == "" && got != want:
			t.Errorf("%s\n%s %.300s\n got %s\nwant %s", s.name, s.method, s.path, got, want)
		case reason != "" && got == want:
			t.Errorf("%s differs no more: take it off the list", s.name)
		}
	}
	if *record != "" {
		if err := os.WriteFile(path, []byte("{\n"+strings.Join(lines, ",\n")+"\n}\n"), 0o644); err != nil { //nolint:gosec // test data
			t.Fatal(err)
		}
	}
}

func quoted(s string) string {
	data, _ := json.Marshal(s) // a string has a form
	return string(data)
}

func compact(m json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, m) != nil {
		return string(m)
	}
	return b.String()
}

type player struct {
	api, anonymous *rawapi.API
	places         places
	captured       map[string]string
}

// headers are those whose answers are compared.
var headers = []string{"Content-Type", "Content-Encoding", "Warning", "Vary", "Retry-After", "Cache-Control", "Accept-Patch"}

// settled plays a step and answers its form too. Nodes, RBAC and admission decide by caches that hear of a write a
// little later: a step that changed nothing is asked again until its answer is the wanted one, for some seconds.
func (p *player) settled(ctx context.Context, s step, wanted string) (a answer, data []byte, err error) {
	deadline := time.Now().Add(settling)
	before := maps.Clone(p.places) // what is asked again is not numbered
	for {
		p.places = maps.Clone(before)
		if a, err = p.play(ctx, s); err != nil {
			return a, nil, err
		}
		if data, err = json.Marshal(a); err != nil {
			return a, nil, fmt.Errorf("writing the answer: %w", err)
		}
		if wanted == "" || string(data) == wanted || !s.harmless(a.Code) || time.Now().After(deadline) {
			return a, data, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// play asks once, or until the answer is the one that is waited for.
func (p *player) play(ctx context.Context, s step) (a answer, err error) {
	if s.eventually == "" {
		return p.ask(ctx, s)
	}
	before := maps.Clone(p.places)
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		p.places = maps.Clone(before)
		b, err := p.ask(ctx, s)
		if err != nil {
			return false, err
		}
		a = b
		data, err := json.Marshal(a.Body)
		return strings.Contains(string(data), s.eventually), err
	})
	return a, err
}

func (p *player) ask(ctx context.Context, s step) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	header := slices.Clone(s.header)
	for i := range header {
		header[i] = fill(header[i], p.captured)
	}
	api := p.api
	if slices.Contains(header, "Authorization") {
		api = p.anonymous
	}
	resp, err := api.Send(ctx, s.method, fill(s.path, p.captured), fill(s.body, p.captured), header...)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{Code: resp.StatusCode, Header: map[string]string{}}
	for _, name := range headers {
		if v := resp.Header.Values(name); len(v) > 0 {
			a.Header[name] = strings.Join(v, "; ")
		}
	}
	if s.watch && resp.StatusCode == http.StatusOK {
		a.Events, err = p.events(resp.Body, s.until)
		return a, err
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, fmt.Errorf("reading the answer: %w", err)
	}
	if a.Header["Content-Encoding"] == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return a, fmt.Errorf("unpacking the answer: %w", err)
		}
		if data, err = io.ReadAll(z); err != nil {
			return a, fmt.Errorf("unpacking the answer: %w", err)
		}
	}
	var object any
	if json.Unmarshal(data, &object) == nil {
		for name, path := range s.captures {
			p.captured[name] = fmt.Sprint(rawapi.At(object, path))
		}
	}
	if len(data) > 16<<10 {
		a.Body = "long"
		return a, nil
	}
	a.Body = p.places.body(data)
	return a, nil
}

// events reads a watch. Bookmarks come when they come; only the one that ends
// the initial events is an answer.
func (p *player) events(r io.Reader, until string) (out []any, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.Contains(line, `"BOOKMARK"`) || strings.Contains(line, "initial-events-end") {
			e, _ := p.places.body([]byte(line)).(map[string]any)
			if e["type"] == "BOOKMARK" {
				e["object"].(map[string]any)["metadata"].(map[string]any)["resourceVersion"] = "some"
			}
			out = append(out, any(e))
		}
		if until != "" && strings.Contains(line, until) {
			break
		}
	}
	return out, nil
}
