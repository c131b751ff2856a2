package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

var (
	errTaken = errors.New("provided value is already allocated")
	errFull  = errors.New("range is full")
)

// pool hands out numbers of [0, size). Numbers below static are handed out by
// themselves only when the others are used up: they are what people choose by hand.
type pool struct {
	size, static int
	used         map[int]bool
}

func newPool(size, static int) *pool { return &pool{size, static, map[int]bool{}} }

// take reserves n.
func (p *pool) take(n int) error {
	if p.used[n] {
		return errTaken
	}
	p.used[n] = true
	return nil
}

// next reserves a random free number that is not skipped.
func (p *pool) next(skip func(int) bool) (int, error) {
	for _, band := range [][2]int{{p.static, p.size}, {0, p.static}} {
		width := band[1] - band[0]
		if width <= 0 {
			continue
		}
		start := rand.IntN(width)
		for i := range width {
			n := band[0] + (start+i)%width
			if !p.used[n] && (skip == nil || !skip(n)) {
				p.used[n] = true
				return n, nil
			}
		}
	}
	return 0, errFull
}

func (p *pool) free(n int) { delete(p.used, n) }

// band is the size of the static band of a range of size: a sixteenth, of at
// least 16 and at most 256 (KEP-3070); nothing of a range of at most 16.
func band(size, divisor, least, most int) int {
	if size <= least {
		return 0
	}
	return min(max(size/divisor, least), most)
}

// addresses is the pool of cluster IPs. Number n is the address n+1 above the
// network's, and the broadcast address is left out.
type addresses struct {
	*pool
	prefix netip.Prefix
}

func newAddresses(prefix netip.Prefix) *addresses {
	bits := prefix.Addr().BitLen() - prefix.Bits()
	size := 1 << min(bits, 16)
	if prefix.Addr().Is4() && size > 2 {
		size--
	}
	size--
	return &addresses{newPool(size, band(size, 16, 16, 256)), prefix.Masked()}
}

func (a *addresses) number(ip netip.Addr) (int, bool) {
	if !a.prefix.Contains(ip) {
		return 0, false
	}
	base, at := a.prefix.Addr().As16(), ip.As16()
	n := 0
	for i := range at {
		n = n<<8 + int(at[i]) - int(base[i])
	}
	return n - 1, n >= 1 && n <= a.size
}

func (a *addresses) address(n int) netip.Addr {
	raw := a.prefix.Addr().AsSlice()
	for i, carry := len(raw)-1, n+1; carry > 0 && i >= 0; i-- {
		carry += int(raw[i])
		raw[i], carry = byte(carry), carry>>8
	}
	ip, _ := netip.AddrFromSlice(raw)
	return ip
}

func (a *addresses) takeAddress(text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return err
	}
	n, ok := a.number(ip)
	if !ok {
		return fmt.Errorf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, a.prefix)
	}
	if err := a.take(n); err != nil {
		return errors.New("provided IP is already allocated")
	}
	return nil
}

func (a *addresses) freeAddress(text string) {
	if ip, err := netip.ParseAddr(text); err == nil {
		if n, ok := a.number(ip); ok {
			a.free(n)
		}
	}
}

// ports is the pool of node ports.
type ports struct {
	*pool
	valid utilnet.PortRange
}

func newPorts(r utilnet.PortRange) *ports {
	return &ports{newPool(r.Size, band(r.Size, 32, 16, 128)), r}
}

func (p *ports) takePort(port int32) error {
	if !p.valid.Contains(int(port)) {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", p.valid)
	}
	if p.take(int(port)-p.valid.Base) != nil {
		return errors.New("provided port is already allocated")
	}
	return nil
}

func (p *ports) freePort(port int32) {
	if p.valid.Contains(int(port)) {
		p.free(int(port) - p.valid.Base)
	}
}
