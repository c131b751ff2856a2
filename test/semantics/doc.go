// Package semantics asks the questions whose answers clients build on: lists and
// watches by version, pages, bookmarks, selectors, media types, dry runs,
// patches, apply, field validation and deletion, subresources and statuses,
// tables, admission and quotas, custom resources, addresses of Services, access
// of users and nodes, and what is too large or malformed, on the wire.
//
// testdata/NAME.steps has the requests, one after the other; testdata/NAME.answers
// what kube-apiserver v1.37.2 said, recorded by
//
//	go test ./test/semantics -run TestSemantics/NAME -record KUBECONFIG
//
// against an empty cluster for each file, as the user admin of system:masters by
// a client certificate, with Node,RBAC, NodeRestriction, privileged pods and the
// Service range 10.96.0.0/16. What differs from run to run (versions, times, uids,
// tokens) is replaced by its place: the first version seen is v1. A difference
// that is kept on purpose has its reason in kept_test.go.
package semantics
