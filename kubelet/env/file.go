package env

import (
	"fmt"
	"strings"
)

// ParseFile finds a variable in the text of an env file. The format is the part of POSIX shell that means the same
// everywhere (KEP-3721):
//
//	# a comment; blank lines and leading spaces are skipped
//	NAME='value taken literally, over several lines if need be' # a comment
//	EMPTY=
//
// The last assignment of a name that stands before a mistake is not trusted: any mistake is an error naming its line.
func ParseFile(text, key string) (value string, found bool, err error) {
	p := fileParser{rest: text, line: 1}
	for p.rest != "" {
		name, v, err := p.next()
		if err != nil {
			return "", false, err
		}
		if name == key && name != "" && !found {
			value, found = v, true
		}
	}
	return value, found, nil
}

// fileParser reads one line, or one assignment, at a time.
type fileParser struct {
	rest string
	line int
}

// next consumes a line; name is empty if it assigns nothing.
func (p *fileParser) next() (name, value string, err error) {
	line, _, _ := strings.Cut(p.rest, "\n")
	trimmed := strings.TrimLeft(line, " \t")
	if strings.TrimRight(trimmed, " \t\r") == "" || strings.HasPrefix(trimmed, "#") {
		p.skipLine()
		return "", "", nil
	}
	name, right, ok := strings.Cut(trimmed, "=")
	if !ok {
		return "", "", p.fail("missing '='")
	}
	if name == "" {
		return "", "", p.fail("empty variable name")
	}
	if strings.ContainsAny(name, " \t") {
		return "", "", p.fail("whitespace before '=' is not allowed")
	}
	if !strings.HasPrefix(right, "'") {
		if strings.Trim(right, "\r") == "" || strings.HasPrefix(right, " ") || strings.HasPrefix(right, "\t") {
			p.skipLine()
			return name, "", nil
		}
		return "", "", p.fail("value must be enclosed in single quotes")
	}
	p.rest = p.rest[strings.Index(p.rest, "='")+len("='"):]
	value, err = p.quoted()
	return name, value, err
}

// quoted consumes up to the closing quote and the rest of its line, which may only be a comment.
func (p *fileParser) quoted() (string, error) {
	value, after, closed := strings.Cut(p.rest, "'")
	if !closed {
		return "", p.fail("unclosed single quote")
	}
	p.line += strings.Count(value, "\n")
	p.rest = after
	tail, _, _ := strings.Cut(after, "\n")
	comment := strings.TrimLeft(tail, " \t")
	if strings.TrimRight(comment, "\r") != "" && !strings.HasPrefix(comment, "#") {
		return "", p.fail("unexpected content after closing quote")
	}
	p.skipLine()
	return value, nil
}

func (p *fileParser) skipLine() {
	_, p.rest, _ = strings.Cut(p.rest, "\n")
	p.line++
}

func (p *fileParser) fail(what string) error {
	return fmt.Errorf("invalid environment variable format at line %d: %s", p.line, what)
}
