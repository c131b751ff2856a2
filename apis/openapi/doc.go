// Package openapi holds the OpenAPI schemas of the built-in types, generated
// from their Go sources. The server needs them for server-side apply, for
// /openapi/v2 and /openapi/v3, and for type checking admission policies.
package openapi

//go:generate ../../hack/openapi.sh
