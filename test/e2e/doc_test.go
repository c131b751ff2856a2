// Package e2e runs the work that users do, with unmodified kubectl and helm,
// against bin/skiff and real containers. Every cluster lives in a network
// namespace with no way out.
package e2e
