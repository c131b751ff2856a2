package server

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// withSoundPatches refuses the one JSON patch that the library can't apply
// without a panic: a replacement of the whole document by no value.
func withSoundPatches(next http.Handler, codecs runtime.NegotiatedSerializer, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && isJSONPatch(r) {
			start, err := io.ReadAll(io.LimitReader(r.Body, limit))
			r.Body = body{io.MultiReader(bytes.NewReader(start), failing{err}, r.Body), r.Body}
			if replacesByNothing(start) {
				err := apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "replace operation of the whole document has no value", 0, false)
				responsewriters.ErrorNegotiated(err, codecs, schema.GroupVersion{}, w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// body is a request's body of which the start was read before.
type body struct {
	io.Reader
	io.Closer
}

// failing says again what reading came to, and nothing if that was no error.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

func isJSONPatch(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == string(types.JSONPatchType)
}

func replacesByNothing(patch []byte) bool {
	var operations []map[string]json.RawMessage
	if json.Unmarshal(patch, &operations) != nil {
		return false
	}
	for _, o := range operations {
		var op, path string
		_, valued := o["value"]
		if !valued && json.Unmarshal(o["op"], &op) == nil && json.Unmarshal(o["path"], &path) == nil && op == "replace" && path == "" {
			return true
		}
	}
	return false
}
