package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReplacesByNothing(t *testing.T) {
	t.Parallel()
	for patch, want := range map[string]bool{
		`[{"op":"replace","path":""}]`:                                     true,
		`[{"op":"test","path":"/a","value":1},{"path":"","op":"replace"}]`: true,
		`[{"op":"replace","path":"","value":null}]`:                        false,
		`[{"op":"replace","path":"/a"}]`:                                   false,
		`[{"op":"remove","path":""}]`:                                      false,
		`[{"op":"replace"}]`:                                               false,
		`[null]`:                                                           false,
		`{`:                                                                false,
	} {
		if got := replacesByNothing([]byte(patch)); got != want {
			t.Errorf("%s: %v", patch, got)
		}
	}
}

// What is read to look at a patch is there for the handler.
func TestPatchesPassWhole(t *testing.T) {
	t.Parallel()
	codecs := newCodecs(NewScheme())
	for patch, want := range map[string]int{
		`[{"op":"remove","path":"/a"}]` + strings.Repeat(" ", 100): http.StatusOK,
		`[{"op":"replace","path":""}]`:                             http.StatusUnprocessableEntity,
	} {
		h := withSoundPatches(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != patch {
				t.Errorf("the handler reads %q: %v", got, err)
			}
		}), codecs, 50)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, "/", strings.NewReader(patch))
		r.Header.Set("Content-Type", "application/json-patch+json; charset=utf-8")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d %s", patch, w.Code, w.Body)
		}
	}
}
