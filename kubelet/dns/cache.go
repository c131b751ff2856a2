package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxPositive = time.Hour
	maxNegative = 5 * time.Minute
	failureTTL  = time.Second // servers in trouble aren't asked again by every client at once
)

// cacheKey is a question as upstream servers tell questions apart.
type cacheKey struct {
	name     string // canonical
	qtype    uint16
	dnssec   bool // the client wants DNSSEC records
	noChecks bool // the client does DNSSEC checks itself
}

// answerCache remembers upstream answers until they expire. When it is full, any entry makes room: expired ones are
// met soon enough, and a random one is good enough otherwise.
type answerCache struct {
	mu      sync.Mutex
	size    int
	now     func() time.Time
	entries map[cacheKey]cached
}

type cached struct {
	msg     *dns.Msg
	stored  time.Time
	expires time.Time
}

func newAnswerCache(size int, now func() time.Time) *answerCache {
	return &answerCache{size: size, now: now, entries: map[cacheKey]cached{}}
}

// get answers a copy with the TTLs that are left, or nil.
func (c *answerCache) get(k cacheKey) *dns.Msg {
	now := c.now()
	c.mu.Lock()
	entry, ok := c.entries[k]
	if ok && !now.Before(entry.expires) {
		delete(c.entries, k)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil
	}
	msg, age := entry.msg.Copy(), uint32(now.Sub(entry.stored)/time.Second)
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			h := rr.Header()
			if h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return msg
}

func (c *answerCache) put(k cacheKey, msg *dns.Msg) {
	life := lifetime(msg)
	if life <= 0 || c.size <= 0 {
		return
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.entries[k]; !there && len(c.entries) >= c.size {
		for victim := range c.entries {
			delete(c.entries, victim)
			break
		}
	}
	c.entries[k] = cached{msg: msg.Copy(), stored: now, expires: now.Add(life)}
}

// lifetime is how long an answer may be remembered: as long as its shortest record, or, for "no", as RFC 2308 says.
func lifetime(msg *dns.Msg) time.Duration {
	switch {
	case msg.Truncated:
		return 0
	case msg.Rcode == dns.RcodeServerFailure:
		return failureTTL
	case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
		return 0
	case msg.Rcode == dns.RcodeNameError || len(msg.Answer) == 0:
		for _, rr := range msg.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(maxNegative, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
		return 0
	}
	life := maxPositive
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns} {
		for _, rr := range section {
			life = min(life, time.Duration(rr.Header().Ttl)*time.Second)
		}
	}
	return life
}
