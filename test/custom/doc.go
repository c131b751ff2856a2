// Package custom tests custom resources as their users meet them: definitions
// in YAML go in over HTTP, and what the server answers is compared.
package custom
