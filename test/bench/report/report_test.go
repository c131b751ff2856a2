package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skiff/test/bench/report"
)

func sample() *report.Report {
	r := &report.Report{Ours: "a", Theirs: "b"}
	write := report.Figure{Name: "write <x>", Unit: "ms", Target: 0.5}
	r.Add(write, 1, 2)
	r.Add(write, 4, 2)
	r.Add(write, 1.5, 2)
	r.Add(report.Figure{Name: "read", Unit: "ms", Target: 0.5}, 1, 10)
	r.Add(report.Figure{Name: "rate", Unit: "1/s", More: true, Noisy: true}, 200, 100)
	r.Add(report.Figure{Name: "speed", Unit: "1/s", More: true, Target: 5}, 200, 100)
	return r
}

func TestTable(t *testing.T) {
	const want = `| figure | a | b | ratio | target |
|---|---|---|---|---|
| write <x>, ms | 1.50 (1.00-4.00) | 2.00 (2.00-2.00) | 0.750 (0.500-2.00) | <= 0.50 **missed** |
| read, ms | 1.00 | 10.0 | 0.100 | <= 0.50 |
| rate, 1/s * | 200 | 100 | 2.00 |  |
| speed, 1/s | 200 | 100 | 2.00 | >= 5.00 **missed** |
`
	if got := sample().Markdown(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestMissed(t *testing.T) {
	got := sample().Missed()
	if len(got) != 2 || got[0] != "write <x>: 0.75 of b, at most 0.50 wanted" || got[1] != "speed: 2.00 of b, at least 5.00 wanted" {
		t.Errorf("got %q", got)
	}
}

func TestPlotIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(sample().SVG("a & b")))
	bars := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 5 {
		t.Errorf("%d rectangles, want the ground and four bars", bars)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	if err := sample().Write(dir, "speed", "a & b"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"speed-table.md": sample().Markdown(), "speed.svg": sample().SVG("a & b")} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, %q", name, err, got)
		}
	}
}
