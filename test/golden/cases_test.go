package golden

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A recording is everything recorded for one kind.
type recording struct {
	kind  string
	bases map[string]map[string]any
	cases []example
}

// An example is one request and the answer of kube-apiserver.
type example struct {
	ID     string      `json:"id"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Accept string      `json:"accept"`
	Base   string      `json:"base"`
	Patch  []operation `json:"patch"`

	Code    int            `json:"code"`
	Object  map[string]any `json:"object"`
	Table   *table         `json:"table"`
	Reason  string         `json:"reason"`
	Message *string        `json:"message"` // nil: not comparable
	Causes  []cause        `json:"causes"`
}

type cause struct {
	Reason  string `json:"reason"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

type table struct {
	Columns any   `json:"columns"`
	Rows    []any `json:"rows"`
}

// collection is the path of the kind's collection, without the query.
func (e *example) collection() string {
	path, _, _ := strings.Cut(e.Path, "?")
	if e.Method == "PUT" {
		return path[:strings.LastIndexByte(path, '/')]
	}
	return path
}

// load reads one case file.
func load(path string) (*recording, error) {
	data, err := unpack(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // 1 and 1.0 are different answers
	var head struct {
		Bases map[string]map[string]any `json:"bases"`
	}
	if err := d.Decode(&head); err != nil {
		return nil, fmt.Errorf("reading the bases of %s: %w", path, err)
	}
	r := &recording{kind: strings.TrimSuffix(filepath.Base(path), ".jsonl.gz"), bases: head.Bases}
	for {
		var e example
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return r, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading case %d of %s: %w", len(r.cases), path, err)
		}
		r.cases = append(r.cases, e)
	}
}

func unpack(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", path, err)
	}
	return io.ReadAll(z)
}

// recorded reads one compressed JSON document of testdata.
func recorded(t *testing.T, name string, into any) {
	t.Helper()
	data, err := unpack(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
}
