// Package dump lists what the kernel has of links, addresses, routes and neighbours while others change it.
package dump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often a list is asked for that something keeps changing.
const tries = 1000

// Whole lists until nothing changed meanwhile. The kernel flags a list that may be incomplete (NLM_F_DUMP_INTR), which
// happens whenever a pod's link comes or goes: that is neither a failure nor something to decide by. Errors are list's;
// netlink.ErrDumpInterrupted only if changes never paused.
func Whole[T any](list func() ([]T, error)) (found []T, err error) {
	for range tries {
		if found, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	return nil, err
}
