package golden

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An operation is one step of a JSON patch: add, replace or remove.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// patched returns the object with the operations applied; the original stays.
func patched(obj map[string]any, ops []operation) (map[string]any, error) {
	var out any = clone(obj)
	for _, op := range ops {
		keys := strings.Split(op.Path, "/")[1:]
		for i := range keys {
			keys[i] = unescape.Replace(keys[i])
		}
		var err error
		if out, err = apply(out, keys, op); err != nil {
			return nil, fmt.Errorf("patching %s: %w", op.Path, err)
		}
	}
	return out.(map[string]any), nil
}

// apply returns the node after the operation on what keys lead to from it.
func apply(node any, keys []string, op operation) (any, error) {
	if len(keys) == 0 {
		return clone(op.Value), nil
	}
	switch n := node.(type) {
	case map[string]any:
		if len(keys) == 1 && op.Op == "remove" {
			delete(n, keys[0])
			return n, nil
		}
		v, err := apply(n[keys[0]], keys[1:], op)
		n[keys[0]] = v
		return n, err
	case []any:
		if keys[0] == "-" {
			return append(n, clone(op.Value)), nil
		}
		i, err := strconv.Atoi(keys[0])
		if err != nil || i >= len(n) {
			return nil, fmt.Errorf("no element %q among %d", keys[0], len(n))
		}
		if len(keys) == 1 && op.Op == "remove" {
			return slices.Delete(n, i, i+1), nil
		}
		n[i], err = apply(n[i], keys[1:], op)
		return n, err
	}
	return nil, fmt.Errorf("%T has no member %q", node, keys[0])
}

// clone copies a JSON value.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}
