package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	// maxInFlight bounds how many questions wait for upstream servers at a time; more are refused at once.
	maxInFlight = 1000
	// patience bounds how long a client waits, whatever the number of upstream servers: resolvers give up at 5 s.
	patience = 4500 * time.Millisecond
	// upstreamUDP is the answer size offered to upstream servers: what passes everywhere unfragmented.
	upstreamUDP = 1232
)

// forwarder asks upstream servers. Equal questions that arrive at the same time are asked once; so a question that
// comes back to this server, because an upstream server forwards to it, waits for itself and fails, and never multiplies.
type forwarder struct {
	upstreams func() []netip.AddrPort
	stubs     map[string][]netip.AddrPort // by canonical domain
	timeout   time.Duration
	cache     *answerCache
	flights   singleflight.Group
	inFlight  atomic.Int64
	mu        sync.Mutex
	bad       map[netip.AddrPort]time.Time // servers that failed, to be asked after the others for a while
	now       func() time.Time
}

// stub answers the servers of the most specific stub domain that the name lies in.
func (f *forwarder) stub(name string) ([]netip.AddrPort, bool) {
	if len(f.stubs) == 0 {
		return nil, false
	}
	name = dns.CanonicalName(name)
	for _, at := range append(dns.Split(name), len(name)) {
		if servers, ok := f.stubs[name[at:]]; ok {
			return servers, true
		}
	}
	return nil, false
}

// forward answers a request from the cache or an upstream server. It always answers: SERVFAIL if nobody does.
func (f *forwarder) forward(ctx context.Context, req *dns.Msg) *dns.Msg {
	q := req.Question[0]
	servers, ok := f.stub(q.Name)
	if !ok {
		servers = f.upstreams()
	}
	if len(servers) == 0 {
		return failure(req, dns.RcodeServerFailure)
	}
	k := cacheKey{name: dns.CanonicalName(q.Name), qtype: q.Qtype, noChecks: req.CheckingDisabled}
	if opt := req.IsEdns0(); opt != nil {
		k.dnssec = opt.Do()
	}
	if msg := f.cache.get(k); msg != nil {
		return addressed(msg, req)
	}
	if f.inFlight.Add(1) > maxInFlight {
		f.inFlight.Add(-1)
		return failure(req, dns.RcodeRefused)
	}
	defer f.inFlight.Add(-1)
	msg := f.once(ctx, k, servers)
	if msg == nil {
		return failure(req, dns.RcodeServerFailure)
	}
	return addressed(msg, req)
}

// addressed makes a message, found for an equal question, the reply to this request.
func addressed(msg, req *dns.Msg) *dns.Msg {
	msg.Id, msg.Response, msg.Question = req.Id, true, slices.Clone(req.Question)
	msg.RecursionDesired, msg.CheckingDisabled, msg.RecursionAvailable = req.RecursionDesired, req.CheckingDisabled, true
	asked := req.Question[0].Name
	for _, rr := range msg.Answer {
		// Clients that vary the case of letters (to tell forged answers) expect their own spelling back.
		if h := rr.Header(); h.Name != asked && strings.EqualFold(h.Name, asked) {
			h.Name = asked
		}
	}
	return msg
}

// once asks, unless somebody else is asking the same already. It answers nil if no server did.
func (f *forwarder) once(ctx context.Context, k cacheKey, servers []netip.AddrPort) *dns.Msg {
	// ctx is the server's, not the first asker's: it is good for everybody who joins.
	result, _, _ := f.flights.Do(flightKey(k), func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		msg := f.askAll(ctx, k, servers)
		if msg != nil {
			f.cache.put(k, msg)
		}
		return msg, nil
	})
	if msg, ok := result.(*dns.Msg); ok && msg != nil {
		return msg.Copy()
	}
	return nil
}

func flightKey(k cacheKey) string {
	flags := byte('0')
	if k.dnssec {
		flags |= 1
	}
	if k.noChecks {
		flags |= 2
	}
	return string([]byte{flags, byte(k.qtype >> 8), byte(k.qtype)}) + k.name
}

// askAll asks one server after the other until one gives a real answer: trouble of one server isn't the client's. If
// all are in trouble their last answer counts.
func (f *forwarder) askAll(ctx context.Context, k cacheKey, servers []netip.AddrPort) *dns.Msg {
	var last *dns.Msg
	for _, server := range f.order(servers) {
		msg, err := f.ask(ctx, k, server)
		if err != nil {
			f.failed(server)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		last = msg
		if msg.Rcode != dns.RcodeServerFailure && msg.Rcode != dns.RcodeRefused && msg.Rcode != dns.RcodeNotImplemented {
			return msg
		}
	}
	return last
}

// badTime is how long a server that failed is asked last.
const badTime = 10 * time.Second

func (f *forwarder) failed(server netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad[server] = f.now().Add(badTime)
}

// order puts servers that failed lately behind the others.
func (f *forwarder) order(servers []netip.AddrPort) []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	var good, bad []netip.AddrPort
	for _, s := range servers {
		if until, failed := f.bad[s]; failed && now.Before(until) {
			bad = append(bad, s)
			continue
		}
		delete(f.bad, s)
		good = append(good, s)
	}
	return append(good, bad...)
}

// ask asks one server, over TCP if its answer doesn't fit a UDP packet.
func (f *forwarder) ask(ctx context.Context, k cacheKey, server netip.AddrPort) (*dns.Msg, error) {
	req := new(dns.Msg)
	req.SetQuestion(k.name, k.qtype)
	req.CheckingDisabled = k.noChecks
	req.SetEdns0(upstreamUDP, k.dnssec)
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	msg, err := exchange(ctx, "udp", req, server)
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeBadVers) && req.IsEdns0() != nil {
		stripOpt(req) // a server from before EDNS0
		msg, err = exchange(ctx, "udp", req, server)
	}
	if err == nil && msg.Truncated {
		msg, err = exchange(ctx, "tcp", req, server)
	}
	if err != nil {
		return nil, err
	}
	stripOpt(msg)
	return msg, nil
}

var errMismatch = errors.New("the answer is for another question")

func exchange(ctx context.Context, network string, req *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	client := dns.Client{Net: network, UDPSize: upstreamUDP}
	conn, err := client.DialContext(ctx, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with the socket
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	msg, _, err := client.ExchangeWithConnContext(ctx, req, conn)
	if err != nil {
		return nil, err
	}
	if len(msg.Question) != 1 || !strings.EqualFold(msg.Question[0].Name, req.Question[0].Name) ||
		msg.Question[0].Qtype != req.Question[0].Qtype {
		return nil, errMismatch
	}
	return msg, nil
}
