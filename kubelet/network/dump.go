package network

import (
	"github.com/vishvananda/netlink"

	"skiff/kubelet/internal/dump"
)

func linkList() ([]netlink.Link, error) { return dump.Whole(netlink.LinkList) }

func routeList(family int) ([]netlink.Route, error) {
	return dump.Whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
}

func addrList(link netlink.Link, family int) ([]netlink.Addr, error) {
	return dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, family) })
}
