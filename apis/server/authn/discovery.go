package authn

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/go-jose/go-jose/v4"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	keySetPath    = "/openid/v1/jwks"
	// maxAge lets relying parties keep the keys for an hour.
	maxAge = "public, max-age=3600"
)

// Mux is where handlers are hung.
type Mux interface {
	Handle(path string, handler http.Handler)
}

// Discovery serves the OpenID documents by which others verify the tokens.
// address is the host:port of the server.
func (i *Issuer) Discovery(mux Mux, address string) error {
	if u, err := url.Parse(i.config.Issuers[0]); err != nil || u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil //nolint:nilerr // OpenID knows no such issuer, so upstream serves no documents either
	}
	keys, err := i.KeySet()
	if err != nil {
		return fmt.Errorf("encoding the key set: %w", err)
	}
	document, err := json.Marshal(map[string]any{
		"issuer":                                i.config.Issuers[0],
		"jwks_uri":                              cmp.Or(i.config.JWKSURI, "https://"+address+keySetPath),
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
	})
	if err != nil {
		return fmt.Errorf("encoding the OpenID configuration: %w", err)
	}
	mux.Handle(discoveryPath, static("application/json", document))
	mux.Handle(keySetPath, static("application/jwk-set+json", keys))
	return nil
}

func static(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", maxAge)
		_, _ = w.Write(body) // the client has gone
	})
}
