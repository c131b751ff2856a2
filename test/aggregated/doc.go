// Package aggregated tests API aggregation: with the sample API server of
// Kubernetes as its makers publish it, and with small servers that misbehave.
package aggregated
