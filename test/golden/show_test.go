package golden

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// show prints the first disagreements of the kinds that match.
type show struct {
	kinds *regexp.Regexp
	limit int // a kind

	mu    sync.Mutex
	shown map[string]int
}

// showFromEnv reads GOLDEN_SHOW=regex:N.
func showFromEnv(t *testing.T) *show {
	t.Helper()
	s := &show{kinds: regexp.MustCompile(""), shown: map[string]int{}}
	v := os.Getenv("GOLDEN_SHOW")
	if v == "" {
		return s
	}
	i := strings.LastIndexByte(v, ':')
	var err error
	if s.limit, err = strconv.Atoi(v[i+1:]); err != nil || i < 0 {
		t.Fatalf("GOLDEN_SHOW is %q, want regex:N", v)
	}
	if s.kinds, err = regexp.Compile(v[:i]); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *show) print(kind string, e *example, v verdict, want, got any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown[kind] >= s.limit {
		return
	}
	s.shown[kind]++
	fmt.Printf("--- %s: %s: disagrees in %s\n", kind, e.ID, v)
	fmt.Printf("    patch %s\n", text(e.Patch))
	if path := os.Getenv("GOLDEN_DUMP"); path != "" {
		s.dump(path, map[string]any{"kind": kind, "id": e.ID, "in": v.String(), "patch": e.Patch, "want": want, "got": got})
		return
	}
	for _, line := range diff("", plain(want), plain(got)) {
		fmt.Println("    " + line)
	}
}

// dump appends the disagreement to a file of JSON lines.
func (s *show) dump(path string, entry map[string]any) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = f.Close() }()
	_, _ = fmt.Fprintln(f, text(entry))
}

func (v verdict) String() string {
	var out []string
	for i := range figures {
		if v.compared[i] && !v.agreed[i] {
			out = append(out, titles[i])
		}
	}
	return strings.Join(out, ",")
}

// plain is the value as decoded JSON.
func plain(v any) (out any) {
	_ = json.Unmarshal([]byte(text(v)), &out) // it comes from JSON
	return out
}

// diff lists where two JSON values differ.
func diff(path string, want, got any) (lines []string) {
	if text(want) == text(got) {
		return nil
	}
	a, okA := want.(map[string]any)
	b, okB := got.(map[string]any)
	if okA && okB {
		keys := maps.Clone(a)
		maps.Copy(keys, b)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			lines = append(lines, diff(path+"."+k, a[k], b[k])...)
		}
		return lines
	}
	x, okX := want.([]any)
	y, okY := got.([]any)
	if okX && okY && len(x) == len(y) {
		for i := range x {
			lines = append(lines, diff(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])...)
		}
		return lines
	}
	w, g := random.ReplaceAllString(text(want), "$1-RANDOM"), random.ReplaceAllString(text(got), "$1-RANDOM")
	if cut := common(w, g); cut > 0 {
		w, g = "..."+w[cut:], "..."+g[cut:]
	}
	return []string{path + ":", "  want " + w, "  got  " + g}
}

// common is how much of two long texts can be left out: what they begin with,
// but for the last words.
func common(a, b string) int {
	const long, keep = 300, 100
	if len(a) < long && len(b) < long {
		return 0
	}
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return max(0, n-keep)
}
