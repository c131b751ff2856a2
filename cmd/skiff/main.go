// Command skiff is Kubernetes in one binary: server, node and kubectl.
package main

import (
	"context"
	"fmt"
	"os"
)

func main() {
	if err := newRoot().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "skiff: "+err.Error())
		os.Exit(1)
	}
}
