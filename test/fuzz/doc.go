// Package fuzz sends what no client would send. Wherever bytes come in there is
// a target: request bodies of each content type, patches, queries, selectors,
// continue tokens, bearer tokens, CEL expressions and files of the configuration.
//
// An answer is wrong if it is a server error: nothing panics, and whatever is
// malformed is told apart from what the server can't do. Whatever is accepted
// in one encoding is accepted in the others, and what is answered is a Status.
//
// Network policies are planned by the node, too, whatever they say.
//
// Writes are dry runs. The seeds are the objects that the recordings of
// test/golden begin with. `go test ./test/fuzz` runs the seeds, `make fuzz` each
// target for a minute, and `go test -fuzz=FuzzPatch ./test/fuzz` one of them,
// guided by coverage.
package fuzz
