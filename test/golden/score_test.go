package golden

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A score counts the compared and the disagreeing cases of one kind.
type score struct{ compared, missed [figures]int }

func (s *score) add(v verdict) {
	for i := range figures {
		if v.compared[i] {
			s.compared[i]++
		}
		if v.compared[i] && !v.agreed[i] {
			s.missed[i]++
		}
	}
}

// scores are the scores by kind.
type scores map[string]score

func (s scores) kinds() []string { return slices.Sorted(maps.Keys(s)) }

func (s scores) total() (sum score) {
	for _, sc := range s {
		for i := range figures {
			sum.compared[i] += sc.compared[i]
			sum.missed[i] += sc.missed[i]
		}
	}
	return sum
}

// String is the table of agreement, with the totals in the last line.
func (s scores) String() string {
	var b strings.Builder
	row := func(kind string, sc score) {
		fmt.Fprintf(&b, "%-66s", kind)
		for i := range figures {
			n := sc.compared[i]
			share := 100.0
			if n > 0 {
				share = 100 * float64(n-sc.missed[i]) / float64(n)
			}
			fmt.Fprintf(&b, " %s %5d/%-5d %6.2f%%", titles[i], n-sc.missed[i], n, share)
		}
		b.WriteByte('\n')
	}
	for _, k := range s.kinds() {
		row(k, s[k])
	}
	row("total", s.total())
	return b.String()
}

// levels is the file that says how many cases may disagree.
func (s scores) levels() []byte {
	var b bytes.Buffer
	b.WriteString("# How many cases of a kind may disagree in: " + strings.Join(titles[:], " ") + "\n")
	for _, k := range s.kinds() {
		b.WriteString(k)
		for _, n := range s[k].missed {
			fmt.Fprintf(&b, " %d", n)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// readLevels returns the tolerated disagreements by kind.
func readLevels(path string) (map[string][figures]int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string][figures]int{}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "#") || len(words) == 0 {
			continue
		}
		if len(words) != 1+figures {
			return nil, fmt.Errorf("%s: want a kind and %d numbers: %q", path, figures, line)
		}
		var level [figures]int
		for i := range level {
			if level[i], err = strconv.Atoi(words[1+i]); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", path, line, err)
			}
		}
		out[words[0]] = level
	}
	return out, nil
}

// compare fails the test where a kind, and so a total, falls below its level.
func compare(t *testing.T, path string, got scores) {
	t.Helper()
	levels, err := readLevels(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range got.kinds() {
		for i, n := range got[kind].missed {
			if n > levels[kind][i] {
				t.Errorf("%s: %d cases disagree in %s, the level reached is %d", kind, n, titles[i], levels[kind][i])
			}
		}
	}
	for kind := range levels {
		if _, ok := got[kind]; !ok {
			t.Errorf("%s stands in %s and was not replayed", kind, path)
		}
	}
}
