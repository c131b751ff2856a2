package route

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Filters is what an HTTPRoute changes about requests and answers.
type Filters struct {
	// Prefix is the path that was matched, for changes of it.
	Prefix            string
	Request, Response []*HeaderChange
	Redirect          *Redirect
	Rewrite           *Rewrite
}

// Apply changes headers: it sets, then adds, then removes.
func (c *HeaderChange) Apply(h http.Header) {
	for _, v := range c.Set {
		h.Set(v.Name, v.Value)
	}
	for _, v := range c.Add {
		h.Add(v.Name, v.Value)
	}
	for _, name := range c.Remove {
		h.Del(name)
	}
}

// apply answers the changed path, both as it goes over the wire.
func (c *PathChange) apply(escaped, prefix string) string {
	switch {
	case c == nil:
		return escaped
	case c.Type == "ReplaceFullPath" && c.ReplaceFullPath != nil:
		return (&url.URL{Path: *c.ReplaceFullPath}).EscapedPath()
	case c.Type == "ReplacePrefixMatch" && c.ReplacePrefixMatch != nil:
		rest := escaped
		for range strings.Count(prefixKey(prefix), "/") { // elements are compared, so that their encoding makes no difference
			if rest = strings.TrimPrefix(rest, "/"); strings.Contains(rest, "/") {
				rest = rest[strings.IndexByte(rest, '/'):]
			} else {
				rest = ""
			}
		}
		to := (&url.URL{Path: prefixKey(*c.ReplacePrefixMatch)}).EscapedPath()
		if to+rest == "" {
			return "/"
		}
		return to + rest
	default:
		return escaped
	}
}

// Path answers the path that the backend is asked for.
func (f *Filters) Path(escaped string) string {
	if f == nil || f.Rewrite == nil {
		return escaped
	}
	return f.Rewrite.Path.apply(escaped, f.Prefix)
}

// Location answers where a redirect leads, and with which status. host is that of the request without its port; port is
// that of the listener that it came by.
func (f *Filters) Location(secure bool, host, port, escaped, query string) (string, int) {
	r, scheme, status := f.Redirect, "http", http.StatusFound
	if secure {
		scheme = "https"
	}
	if r.StatusCode != nil {
		status = *r.StatusCode
	}
	if r.Hostname != nil {
		host = *r.Hostname
	}
	switch {
	case r.Port != nil:
		port = strconv.Itoa(*r.Port)
	case r.Scheme != nil:
		port = "" // the scheme's own
	}
	if r.Scheme != nil {
		scheme = *r.Scheme
	}
	at := host
	if strings.Contains(host, ":") {
		at = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		at = net.JoinHostPort(host, port)
	}
	location := scheme + "://" + at + r.Path.apply(escaped, f.Prefix)
	if query != "" {
		location += "?" + query
	}
	return location, status
}
