package nstest

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

// Churn makes and removes links whose names begin with prefix until stop. Between the two, while has its way with the one
// of the i-th round; it may be nil.
func Churn(t testing.TB, prefix string, while func(link netlink.Link, i int)) (stop func()) {
	t.Helper()
	Need(t)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name = fmt.Sprintf("%s%d", prefix, i%8)
			link := &netlink.Bridge{LinkAttrs: attrs}
			_ = netlink.LinkAdd(link)
			if while != nil {
				while(link, i)
			}
			_ = netlink.LinkSetUp(link)
			_ = netlink.LinkDel(link)
		}
	}()
	return func() { close(quit); <-done }
}
