// Package registry serves images from memory by the pull half of the OCI
// distribution specification 1.1, for tests that can reach no other registry.
package registry

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"skiff/internal/ociimage"
)

// Registry is an http.Handler. With User set it wants basic authentication.
type Registry struct {
	User, Password string

	mu        sync.Mutex
	blobs     map[string]ociimage.Blob // by digest
	manifests map[string]string        // repository:tag -> digest
	pulls     map[string]int           // repository:tag -> manifests sent
}

// Add makes an image available as repository:tag; the image's own reference is
// not looked at.
func (r *Registry) Add(repository, tag string, image ociimage.Image) error {
	blobs, err := image.Blobs()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blobs == nil {
		r.blobs, r.manifests, r.pulls = map[string]ociimage.Blob{}, map[string]string{}, map[string]int{}
	}
	for _, b := range blobs {
		r.blobs[b.Digest] = b
	}
	r.manifests[repository+":"+tag] = blobs[len(blobs)-1].Digest
	return nil
}

// Pulls counts how often the manifest of repository:tag was sent.
func (r *Registry) Pulls(repository, tag string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls[repository+":"+tag]
}

// ServeHTTP implements GET and HEAD of /v2/, manifests and blobs.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if user, password, _ := req.BasicAuth(); r.User != "" && (user != r.User || password != r.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	if path == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if repository, reference, ok := strings.Cut(path, kind); ok {
			r.send(w, req, repository, reference)
			return
		}
	}
	fail(w, http.StatusNotFound, "UNSUPPORTED")
}

func (r *Registry) send(w http.ResponseWriter, req *http.Request, repository, reference string) {
	r.mu.Lock()
	digest, tagged := r.manifests[repository+":"+reference]
	if !tagged {
		digest = reference
	}
	b, ok := r.blobs[digest]
	if tagged && req.Method == http.MethodGet {
		r.pulls[repository+":"+reference]++
	}
	r.mu.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", b.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b.Data)))
	w.Header().Set("Docker-Content-Digest", b.Digest)
	if req.Method == http.MethodGet {
		_, _ = w.Write(b.Data)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, strings.ToLower(code))
}
