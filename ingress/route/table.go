package route

import (
	"crypto/tls"
	"net/http"
	"strings"
)

// Table is where requests go. It never changes.
type Table struct {
	exact    map[string]*paths // by host
	single   map[string]*paths // by what follows the first label, with its dot: hosts of one label more
	deep     map[string]*paths // the same for hosts of any number of labels more
	anyHost  *paths
	fallback *Target
	certs    certificates
	empty    bool
}

// paths are the rules of one host.
type paths struct {
	exact, prefix map[string][]*Rule
}

// Rule is a way that requests of one host and path may go.
type Rule struct {
	// Match is what else the request must have; nil if nothing.
	Match func(*http.Request) bool
	// Target is where it goes.
	Target *Target
}

// Empty reports whether nothing at all is routed.
func (t *Table) Empty() bool { return t.empty }

// Find answers where a request for the host goes, and false if nobody wants it.
func (t *Table) Find(host string, path Path, r *http.Request) (*Target, bool) {
	for p := range t.hosts(host) {
		if target, ok := p.find(path.Match, r); ok {
			return target, true
		}
	}
	return t.fallback, t.fallback != nil
}

// hosts are the rules for a host, those of the most specific name first.
func (t *Table) hosts(host string) func(yield func(*paths) bool) {
	return func(yield func(*paths) bool) {
		visit := func(p *paths) bool { return p == nil || yield(p) }
		if host != "" {
			if !visit(t.exact[host]) {
				return
			}
			for suffix, first := after(host), true; suffix != ""; suffix, first = after(suffix[1:]), false {
				if first && !visit(t.single[suffix]) || !visit(t.deep[suffix]) {
					return
				}
			}
		}
		visit(t.anyHost)
	}
}

// after is what follows the first label of a name, with its dot.
func after(name string) string {
	if at := strings.IndexByte(name, '.'); at > 0 {
		return name[at:]
	}
	return ""
}

// find looks for the longest path, which an exact one is: it is as long as the request's.
func (p *paths) find(path string, r *http.Request) (*Target, bool) {
	if target, ok := first(p.exact[path], r); ok {
		return target, true
	}
	for at := prefixKey(path); ; at = at[:strings.LastIndexByte(at, '/')] {
		if target, ok := first(p.prefix[at], r); ok {
			return target, true
		}
		if at == "" {
			return nil, false
		}
	}
}

func first(rules []*Rule, r *http.Request) (*Target, bool) {
	for _, rule := range rules {
		if rule.Match == nil || rule.Match(r) {
			return rule.Target, true
		}
	}
	return nil, false
}

// Certificate answers the certificate for a name that a client asks for; nil if none was made for it.
func (t *Table) Certificate(name string) *tls.Certificate { return t.certs.find(ParseHost(name)) }

// certificates are kept by the names that they are for.
type certificates struct {
	exact map[string]*tls.Certificate
	wild  map[string]*tls.Certificate // by what follows the first label, with its dot
}

func (c *certificates) find(name string) *tls.Certificate {
	if found := c.exact[name]; found != nil {
		return found
	}
	return c.wild[after(name)]
}

// add makes the certificate that of the name, unless there is one.
func (c *certificates) add(name string, cert *tls.Certificate) {
	to, key := c.exact, ParseHost(name)
	if rest, ok := strings.CutPrefix(key, "*"); ok {
		to, key = c.wild, rest
	}
	if to[key] == nil {
		to[key] = cert
	}
}

// A builder fills a table.
type builder struct{ table *Table }

func newBuilder() builder {
	return builder{&Table{
		exact: map[string]*paths{}, single: map[string]*paths{}, deep: map[string]*paths{},
		certs: certificates{exact: map[string]*tls.Certificate{}, wild: map[string]*tls.Certificate{}},
		empty: true,
	}}
}

// host answers the rules of a host, of which "" is any and "*.x" covers one label, or any number of them if deep.
func (b builder) host(name string, deep bool) *paths {
	name = ParseHost(name)
	if name == "" {
		if b.table.anyHost == nil {
			b.table.anyHost = newPaths()
		}
		return b.table.anyHost
	}
	of := b.table.exact
	if rest, ok := strings.CutPrefix(name, "*"); ok {
		if name, of = rest, b.table.single; deep {
			of = b.table.deep
		}
	}
	if of[name] == nil {
		of[name] = newPaths()
	}
	return of[name]
}

func newPaths() *paths { return &paths{exact: map[string][]*Rule{}, prefix: map[string][]*Rule{}} }

// add appends a rule: it comes after those that are there.
func (b builder) add(host string, deep, exact bool, path string, rule *Rule) {
	p := b.host(host, deep)
	if b.table.empty = false; exact {
		p.exact[path] = append(p.exact[path], rule)
		return
	}
	p.prefix[prefixKey(path)] = append(p.prefix[prefixKey(path)], rule)
}
