package route

import (
	"net"
	"net/url"
	"strings"
)

// Path is the path of a request in the form that routes are compared with.
type Path struct {
	// Match has every character decoded but slashes within an element (%2F), which are none that divide, and dot
	// segments resolved (RFC 3986, section 5.2.4).
	Match string
	// Escaped is the same path as it goes to backends: with dot segments resolved, so that the backend can't read it as
	// another path than the one that was routed, and otherwise as the client wrote it.
	Escaped string
}

// ParsePath reads the escaped path of a URL; false if it can't be one.
func ParsePath(escaped string) (Path, bool) {
	if !strings.HasPrefix(escaped, "/") {
		return Path{}, false
	}
	if !strings.Contains(escaped, "%") && !strings.Contains(escaped, "/.") {
		return Path{escaped, escaped}, true
	}
	var match, clean []string
	open := false // whether the path ends in a slash
	for element := range strings.SplitSeq(escaped[1:], "/") {
		decoded, err := url.PathUnescape(element)
		if err != nil {
			return Path{}, false
		}
		open = decoded == "." || decoded == ".."
		switch {
		case decoded == ".":
		case decoded == "..":
			match, clean = match[:max(len(match)-1, 0)], clean[:max(len(clean)-1, 0)]
		default:
			match, clean = append(match, strings.ReplaceAll(decoded, "/", "%2F")), append(clean, element)
		}
	}
	p := Path{"/" + strings.Join(match, "/"), "/" + strings.Join(clean, "/")}
	if open && len(match) > 0 {
		p.Match, p.Escaped = p.Match+"/", p.Escaped+"/"
	}
	return p, true
}

// ParseHost answers the name in a Host header or the name that a TLS client asks for: in lower case, without port and
// final dot.
func ParseHost(host string) string {
	if strings.Contains(host, ":") {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// prefixKey is a prefix without its trailing slash, which says nothing: "" is what every path begins with.
func prefixKey(path string) string { return strings.TrimSuffix(path, "/") }
