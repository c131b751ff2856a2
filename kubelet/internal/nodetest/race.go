//go:build race

package nodetest

import "github.com/sasha-s/go-deadlock"

// quiet turns off the lock checker that go-cni brings into builds with the race detector: it ends the process at the first
// recursive read lock, which go-cni itself takes for every pod.
func quiet() { deadlock.Opts.Disable = true }
