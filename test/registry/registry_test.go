package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"skiff/internal/ociimage"
)

func get(t *testing.T, url, password string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("user", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestPull(t *testing.T) {
	r := &Registry{User: "user", Password: "secret"}
	if err := r.Add("team/app", "v1", ociimage.Image{Files: []ociimage.File{{Path: "/x", Data: []byte("x"), Mode: 0o644}}}); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(r)
	defer s.Close()
	if code, _ := get(t, s.URL+"/v2/team/app/manifests/v1", "wrong"); code != http.StatusUnauthorized {
		t.Errorf("wrong password: %d", code)
	}
	if code, _ := get(t, s.URL+"/v2/team/app/manifests/v2", "secret"); code != http.StatusNotFound {
		t.Errorf("unknown tag: %d", code)
	}
	code, body := get(t, s.URL+"/v2/team/app/manifests/v1", "secret")
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal(body, &manifest); code != http.StatusOK || err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("manifest: %d %v %s", code, err, body)
	}
	if code, _ := get(t, s.URL+"/v2/team/app/blobs/"+manifest.Layers[0].Digest, "secret"); code != http.StatusOK {
		t.Errorf("layer: %d", code)
	}
	if n := r.Pulls("team/app", "v1"); n != 1 {
		t.Errorf("%d pulls, want 1", n)
	}
}
