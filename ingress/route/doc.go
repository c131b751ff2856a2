// Package route decides where a request goes. Compile turns Ingresses, and what they name, into a Table: an immutable
// value that a proxy looks requests up in without a lock and that is replaced as a whole.
//
// A rule matches when its host and its path do (networking.k8s.io/v1, IngressRule). Of those that match the one with the
// most specific host wins, then the one with the longest path, then Exact before Prefix, then that of the older Ingress.
// What matches no rule goes to the default backend of the oldest Ingress that has one.
package route
