package dns

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"
)

const (
	// maxUDP bounds UDP answers, whatever the client would take.
	maxUDP = 4096
	// maxFollow bounds how many CNAMEs inside the cluster one answer follows.
	maxFollow = 8
)

// respond answers any request at all. tcp says that the answer's size doesn't matter. It answers nil for what isn't a
// request, which is to be ignored.
func (s *Server) respond(ctx context.Context, req *dns.Msg, tcp bool) *dns.Msg {
	if req.Response {
		return nil
	}
	reply := s.answer(ctx, req)
	size := dns.MaxMsgSize
	opt := req.IsEdns0()
	if !tcp {
		size = dns.MinMsgSize
		if opt != nil {
			size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
		}
	}
	reply.Compress = true
	stripOpt(reply)
	if opt != nil {
		mine := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		mine.SetUDPSize(maxUDP)
		mine.SetDo(opt.Do())
		if opt.Version() != 0 {
			reply.Rcode = dns.RcodeBadVers
			reply.Answer, reply.Ns, reply.Extra = nil, nil, nil
		}
		reply.Extra = append(reply.Extra, mine)
	}
	reply.Truncate(size)
	return reply
}

func stripOpt(m *dns.Msg) {
	m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
}

// answer decides who knows: the cluster, or an upstream server.
func (s *Server) answer(ctx context.Context, req *dns.Msg) *dns.Msg {
	switch {
	case req.Opcode != dns.OpcodeQuery:
		return failure(req, dns.RcodeNotImplemented)
	case len(req.Question) != 1:
		return failure(req, dns.RcodeFormatError)
	case req.Question[0].Qclass != dns.ClassINET:
		return failure(req, dns.RcodeRefused)
	}
	q := req.Question[0]
	if q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		return failure(req, dns.RcodeRefused)
	}
	if _, stub := s.forwarder.stub(q.Name); stub {
		return s.forwarder.forward(ctx, req)
	}
	if mine, ok := s.records.parse(q); ok {
		return s.authoritative(ctx, req, s.records.lookup(mine))
	}
	if found, ok := s.records.reverse(q); ok {
		return s.authoritative(ctx, req, found)
	}
	return s.forwarder.forward(ctx, req)
}

func failure(req *dns.Msg, rcode int) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetRcode(req, rcode)
	reply.RecursionAvailable = true
	return reply
}

// authoritative turns what the cluster knows into a message. "No" carries the SOA record, which says how long it holds.
func (s *Server) authoritative(ctx context.Context, req *dns.Msg, found answer) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetReply(req)
	reply.Authoritative, reply.RecursionAvailable = true, true
	reply.Answer, reply.Extra = shuffle(found.rrs), found.extra
	for range maxFollow {
		if found.follow == "" {
			break
		}
		found = s.follow(ctx, req, reply, found.follow)
	}
	switch {
	case !found.exists:
		reply.Rcode = dns.RcodeNameError
		reply.Ns = []dns.RR{s.records.soa()}
	case len(reply.Answer) == 0:
		reply.Ns = []dns.RR{s.records.soa()}
	}
	return reply
}

// follow adds the records of a CNAME's target to the reply.
func (s *Server) follow(ctx context.Context, req, reply *dns.Msg, target string) answer {
	q := dns.Question{Name: target, Qtype: req.Question[0].Qtype, Qclass: dns.ClassINET}
	if mine, ok := s.records.parse(q); ok {
		found := s.records.lookup(mine)
		reply.Answer = append(reply.Answer, shuffle(found.rrs)...)
		reply.Extra = append(reply.Extra, found.extra...)
		return found
	}
	ask := new(dns.Msg)
	ask.SetQuestion(q.Name, q.Qtype)
	got := s.forwarder.forward(ctx, ask)
	reply.Answer = append(reply.Answer, got.Answer...)
	reply.Ns = append(reply.Ns, got.Ns...)
	if len(got.Answer) == 0 {
		// The alias exists, whatever became of its target; clients see that in the code.
		reply.Rcode = got.Rcode
	}
	return answer{exists: true}
}

// shuffle puts address records in random order: clients take the first.
func shuffle(rrs []dns.RR) []dns.RR {
	out := slices.Clone(rrs)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] }) //nolint:gosec // no secret
	return out
}
