package env

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Expand replaces $(NAME) by the variable's value. A name without a value stays as it is written, $$ is one $, and
// every other $ is itself.
func Expand(text string, lookup func(name string) (string, bool)) string {
	expanded, _ := expand(text, lookup)
	return expanded
}

// ExpandStrict is Expand for places, like subPathExpr, where a name without a value is an error.
func ExpandStrict(text string, lookup func(name string) (string, bool)) (string, error) {
	expanded, missing := expand(text, lookup)
	if len(missing) > 0 {
		return "", fmt.Errorf("missing value for %q", missing[0])
	}
	return expanded, nil
}

// Lookup answers variables of an environment by name, for Expand.
func Lookup(environment []corev1.EnvVar) func(name string) (string, bool) {
	values := make(map[string]string, len(environment))
	for i := range environment {
		values[environment[i].Name] = environment[i].Value
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// ExpandAll expands each text, as it is done with a container's command and args.
func ExpandAll(texts []string, environment []corev1.EnvVar) []string {
	if len(texts) == 0 {
		return texts
	}
	lookup := Lookup(environment)
	expanded := make([]string, 0, len(texts))
	for _, text := range texts {
		expanded = append(expanded, Expand(text, lookup))
	}
	return expanded
}

func expand(text string, lookup func(string) (string, bool)) (expanded string, missing []string) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), missing
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed:
			value, ok := lookup(name)
			if !ok {
				missing = append(missing, name)
				value = "$(" + name + ")"
			}
			out.WriteString(value)
			text = rest
		default:
			out.WriteByte('$')
			text = after
		}
	}
}
