package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/informers"
)

// recordTTL is how long clients may keep cluster records, in seconds.
const recordTTL = 5

// Config says which names are served, and where.
type Config struct {
	// Domain is the cluster's domain, as in SERVICE.NAMESPACE.svc.DOMAIN.
	Domain string
	// ServiceAddresses are the cluster's DNS addresses; they are put on the link LinkName.
	ServiceAddresses []netip.Addr
	// LinkName is the name of the link that the server makes for its addresses; nothing else on the host may use it.
	LinkName string
	// ListenAddresses are further addresses to listen on; the host has them already.
	ListenAddresses []netip.Addr
	// Port to listen on; 53 if 0.
	Port uint16
	// Upstreams are the servers for names outside the cluster. If nil, those of ResolvConf.
	Upstreams []netip.AddrPort
	// ResolvConf lists upstream servers; it is read again when it changes. Empty: there are none.
	ResolvConf string
	// StubDomains names servers for some domains: those, and names below them, are asked there only.
	StubDomains map[string][]netip.AddrPort
	// CacheSize is how many upstream answers to remember; 10,000 if 0.
	CacheSize int
	// UpstreamTimeout is how long to wait for one upstream server; 2 s if 0.
	UpstreamTimeout time.Duration
}

// Deps is what the server needs from its surroundings.
type Deps struct {
	Informers informers.SharedInformerFactory
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if _, ok := dns.IsDomainName(c.Domain); !ok || c.Domain == "" {
		errs = append(errs, fmt.Errorf("%q is no domain name", c.Domain))
	}
	if len(c.ServiceAddresses) > 0 && (c.LinkName == "" || len(c.LinkName) >= unix.IFNAMSIZ) {
		errs = append(errs, fmt.Errorf("%q is no name for a link: at most %d characters", c.LinkName, unix.IFNAMSIZ-1))
	}
	if len(c.ServiceAddresses)+len(c.ListenAddresses) == 0 {
		errs = append(errs, errors.New("there is no address to listen on"))
	}
	for domain := range c.StubDomains {
		if _, ok := dns.IsDomainName(domain); !ok || domain == "" {
			errs = append(errs, fmt.Errorf("stub domain %q is no domain name", domain))
		}
	}
	return errors.Join(errs...)
}

// withDefaults fills in what is left open.
func (c Config) withDefaults() Config {
	c.Domain = dns.CanonicalName(c.Domain)
	if c.Port == 0 {
		c.Port = 53
	}
	if c.CacheSize == 0 {
		c.CacheSize = 10_000
	}
	if c.UpstreamTimeout == 0 {
		c.UpstreamTimeout = 2 * time.Second
	}
	return c
}

// addresses lists every address and port listened on.
func (c Config) addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, list := range [][]netip.Addr{c.ServiceAddresses, c.ListenAddresses} {
		for _, a := range list {
			out = append(out, netip.AddrPortFrom(a, c.Port))
		}
	}
	return out
}
