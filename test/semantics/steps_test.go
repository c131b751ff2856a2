package semantics

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A step is a request. Its text may name what earlier answers had: {a}.
type step struct {
	name, method, path, body string
	header                   []string
	captures                 map[string]string // dotted path in the answer, by name
	watch                    bool              // read events until the server ends
	until                    string            // or until an event has this in it
	eventually               string            // ask until the answer has this in it
}

// harmless says whether the step, which was answered with the code, changed nothing.
func (s *step) harmless(code int) bool {
	return code == http.StatusForbidden || strings.Contains(s.path, "dryRun=All") || s.method == http.MethodGet && !s.watch
}

// readSteps reads a file of steps:
//
//	== NAME
//	METHOD PATH
//	Header: value            any number
//	capture NAME = path      any number
//	watch                    read events
//	until TEXT               of a watch: until an event has TEXT in it
//	eventually TEXT          ask until the answer has TEXT in it: caches fill later
//
//	the body, after an empty line
//
// In the path and the body, <<N TEXT>> is TEXT N times.
func readSteps(path string) ([]step, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the steps: %w", err)
	}
	var out []step
	for _, block := range strings.Split("\n"+string(data), "\n== ")[1:] {
		head, body, _ := strings.Cut(block, "\n\n")
		lines := strings.Split(strings.TrimRight(head, "\n"), "\n")
		if len(lines) < 2 {
			return nil, fmt.Errorf("%s: step %q has no request", path, lines[0])
		}
		s := step{name: lines[0], body: repeated(strings.TrimRight(body, "\n")), captures: map[string]string{}}
		s.method, s.path, _ = strings.Cut(repeated(lines[1]), " ")
		for _, line := range lines[2:] {
			if err := s.directive(line); err != nil {
				return nil, fmt.Errorf("%s: step %q: %w", path, s.name, err)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

var repeats = regexp.MustCompile(`<<(\d+) (.+?)>>`)

func repeated(s string) string {
	return repeats.ReplaceAllStringFunc(s, func(m string) string {
		parts := repeats.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[1]) // digits
		return strings.Repeat(parts[2], n)
	})
}

func (s *step) directive(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "capture":
		name, path, ok := strings.Cut(rest, " = ")
		if !ok {
			return fmt.Errorf("%q is no capture", line)
		}
		s.captures[name] = path
	case word == "watch":
		s.watch = true
	case word == "until":
		s.watch, s.until = true, rest
	case word == "eventually":
		s.eventually = rest
	case strings.HasSuffix(word, ":"):
		s.header = append(s.header, strings.TrimSuffix(word, ":"), rest)
	case strings.HasPrefix(line, "#"):
	default:
		return fmt.Errorf("%q is no directive", line)
	}
	return nil
}

// fill puts in what was captured.
func fill(text string, captured map[string]string) string {
	for name, value := range captured {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}
