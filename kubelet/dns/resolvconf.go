package dns

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// resolvConf is the upstream servers that a resolv.conf names, read again when the file changes. An address that this
// server listens on is none: it would ask itself.
type resolvConf struct {
	path string
	self []netip.AddrPort

	mu      sync.Mutex
	changed time.Time
	size    int64
	servers []netip.AddrPort
}

func (r *resolvConf) upstreams() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if err != nil {
		return r.servers
	}
	if info.ModTime().Equal(r.changed) && info.Size() == r.size {
		return r.servers
	}
	config, err := dns.ClientConfigFromFile(r.path)
	if err != nil {
		return r.servers
	}
	r.changed, r.size = info.ModTime(), info.Size()
	r.servers = others(parseServers(config), r.self)
	return r.servers
}

func parseServers(config *dns.ClientConfig) []netip.AddrPort {
	var out []netip.AddrPort
	port, err := strconv.ParseUint(config.Port, 10, 16)
	if err != nil {
		port = 53
	}
	for _, text := range config.Servers {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(port)))
		}
	}
	return out
}

// others leaves out the server itself.
func others(servers, self []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(servers), func(s netip.AddrPort) bool {
		return slices.Contains(self, s) || s.Addr().IsUnspecified()
	})
}
