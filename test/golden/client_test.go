package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skiff/test/env"
)

// A client speaks JSON as the administrator whom the recording names, without a
// user agent, so that its field manager is called "unknown".
type client struct{ transport http.RoundTripper }

func newClient(s *env.Server) client { return client{s.Admin().Transport} }

// do returns the status code and the decoded body of the answer.
func (c client) do(ctx context.Context, method, path string, body any, header ...string) (int, map[string]any, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	if body == nil {
		data = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://in-process"+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	req.Header = http.Header{
		"Accept": {"application/json"}, "Content-Type": {"application/json"},
		"Impersonate-User": {"admin"}, "Impersonate-Uid": {"admin"}, "Impersonate-Group": {"system:masters"},
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	var out map[string]any
	d := json.NewDecoder(res.Body)
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		return 0, nil, fmt.Errorf("%s %s: code %d: %w", method, path, res.StatusCode, err)
	}
	return res.StatusCode, out, nil
}

// apply creates the objects of a List; those that exist already are left.
func (c client) apply(t *testing.T, objects []any) {
	t.Helper()
	for _, o := range objects {
		obj := object(o)
		path := c.path(t, obj)
		code, body, err := c.do(t.Context(), "POST", path, obj)
		if err != nil {
			t.Fatal(err)
		}
		if code != http.StatusCreated && code != http.StatusConflict {
			t.Fatalf("POST %s: %d %v", path, code, body["message"])
		}
	}
}

// path finds the object's collection by discovery.
func (c client) path(t *testing.T, obj map[string]any) string {
	t.Helper()
	version, _ := obj["apiVersion"].(string)
	base := "/apis/" + version
	if version == "v1" {
		base = "/api/v1"
	}
	_, found, err := c.do(t.Context(), "GET", base, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list(found["resources"]) {
		name, _ := object(r)["name"].(string)
		if object(r)["kind"] != obj["kind"] || strings.Contains(name, "/") {
			continue
		}
		if object(r)["namespaced"] == true {
			return base + "/namespaces/" + namespace(obj) + "/" + name
		}
		return base + "/" + name
	}
	t.Fatalf("%s %s is not served", version, obj["kind"])
	return ""
}

// remove deletes the object for good, whatever finalizer holds it.
func (c client) remove(ctx context.Context, item string) error {
	code, _, err := c.do(ctx, "DELETE", item+"?gracePeriodSeconds=0&propagationPolicy=Background", nil)
	if err != nil || code == http.StatusNotFound {
		return err
	}
	code, left, err := c.do(ctx, "GET", item, nil)
	if err != nil || code != http.StatusOK {
		return err
	}
	if left["kind"] == "Namespace" {
		object(left["spec"])["finalizers"] = []any{}
		if _, _, err := c.do(ctx, "PUT", item+"/finalize", left); err != nil {
			return err
		}
	}
	if list(object(left["metadata"])["finalizers"]) != nil {
		free := map[string]any{"metadata": map[string]any{"finalizers": nil}}
		_, _, err = c.do(ctx, "PATCH", item, free, "Content-Type", "application/merge-patch+json")
	}
	return err
}

func name(obj map[string]any) string {
	s, _ := object(obj["metadata"])["name"].(string)
	return s
}

func namespace(obj map[string]any) string {
	if s, _ := object(obj["metadata"])["namespace"].(string); s != "" {
		return s
	}
	return "default"
}
