package golden

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skiff/test/env"
)

// A special is a valid request for a subresource or a review. What is recorded
// of its answer is the code alone; what it must do is said in effects.
type special struct {
	Name, Method, Path, ContentType string
	Expect                          int
	Body                            json.RawMessage
}

// TestSpecial sends each special request to fresh prerequisites and looks for
// its documented effect. No effect is unused, and none is missing.
func TestSpecial(t *testing.T) {
	c := newClient(env.Start(t, env.Options{}))
	prepare(t, c)
	var all map[string]any
	recordedPlain(t, "prereq.json", &all)
	unused := map[string]bool{}
	for name := range effects {
		unused[name] = true
	}
	for _, s := range specials(t) {
		t.Run(s.Name, func(t *testing.T) {
			f := fixture{t: t, client: c, objects: list(all["items"])}
			f.renew()
			answer := f.send(s)
			check, ok := effects[s.Name]
			if !ok {
				t.Fatal("no effect is listed")
			}
			check(f, answer)
		})
		delete(unused, s.Name)
	}
	if len(unused) > 0 {
		t.Errorf("effects of requests that don't exist: %v", unused)
	}
}

func specials(t *testing.T) (out []special) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "special.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(plain); lines.Scan(); {
		var s special
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		t.Fatal("no special requests")
	}
	return out
}

func recordedPlain(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A fixture holds the prerequisites of one special request.
type fixture struct {
	client
	t       *testing.T
	objects []any
}

// renew makes the objects that special requests change anew.
func (f fixture) renew() {
	f.t.Helper()
	changed := []string{"Pod", "Deployment", "StatefulSet", "ReplicationController", "CertificateSigningRequest"}
	for _, o := range f.objects {
		if obj := object(o); slices.Contains(changed, obj["kind"].(string)) {
			if err := f.remove(f.t.Context(), f.path(f.t, obj)+"/"+name(obj)); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	f.apply(f.t, f.objects)
}

// send fills in what only this server knows, and expects the recorded code.
func (f fixture) send(s special) map[string]any {
	f.t.Helper()
	body := s.Body
	if bytes.Contains(body, []byte("%POD")) {
		pod := object(f.get(podPath)["metadata"])
		body = bytes.ReplaceAll(body, []byte("%PODUID%"), []byte(pod["uid"].(string)))
		body = bytes.ReplaceAll(body, []byte("%PODRV%"), []byte(pod["resourceVersion"].(string)))
	}
	if bytes.Contains(body, []byte("oracletoken")) {
		_, answer, err := f.do(f.t.Context(), "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{},
		})
		if err != nil {
			f.t.Fatal(err)
		}
		token, _ := at(answer, "status.token").(string)
		body = bytes.ReplaceAll(body, []byte("oracletoken"), []byte(token))
	}
	got, answer, err := f.do(f.t.Context(), s.Method, s.Path, body, "Content-Type", s.ContentType)
	if err != nil {
		f.t.Fatal(err)
	}
	if got != s.Expect {
		f.t.Fatalf("code %d, want %d: %v", got, s.Expect, answer["message"])
	}
	return answer
}

func (f fixture) get(path string) map[string]any {
	f.t.Helper()
	status, body, err := f.do(f.t.Context(), "GET", path, nil)
	if err != nil || status != 200 {
		f.t.Fatalf("GET %s: %d, %v, %v", path, status, body["message"], err)
	}
	return body
}

// is compares values in an object, by dotted paths, with JSON texts. An empty
// text means that nothing is there, "*" that something is.
func (f fixture) is(obj map[string]any, want map[string]string) {
	f.t.Helper()
	for path, value := range want {
		got := at(obj, path)
		switch {
		case value == "" && got == nil, value == "*" && got != nil:
		case value == "" || value == "*" || text(got) != value:
			f.t.Errorf("%s is %s, want %s", path, text(got), value)
		}
	}
}

// at follows a dotted path; a number is an index.
func at(v any, path string) any {
	for _, key := range strings.Split(path, ".") {
		key = strings.ReplaceAll(key, "~", ".")
		if l, ok := v.([]any); ok {
			i := slices.Index([]string{"0", "1", "2", "3"}, key)
			if i < 0 || i >= len(l) {
				return nil
			}
			v = l[i]
			continue
		}
		v = object(v)[key]
	}
	return v
}
