package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumps is how often a list is asked for that something keeps changing.
const dumps = 1000

// whole lists until nothing changed meanwhile. The kernel flags a list that may be incomplete (NLM_F_DUMP_INTR), which
// happens whenever a pod's link comes or goes: that is neither a failure nor something to decide by.
func whole[T any](list func() ([]T, error)) (found []T, err error) {
	for range dumps {
		if found, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	return nil, err
}

func linkList() ([]netlink.Link, error) { return whole(netlink.LinkList) }

func routeList(family int) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
}

func addrList(link netlink.Link, family int) ([]netlink.Addr, error) {
	return whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, family) })
}
