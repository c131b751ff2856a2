package env

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	lookup := Lookup([]corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "REF", Value: "$(A)"}, {Name: "EMPTY"}, {Name: "x y", Value: "spaced"}})
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "a", "$(A)$(A)": "aa", "x$(A)y": "xay", "$(NO)": "$(NO)", "$$(A)": "$(A)", "$$$(A)": "$a",
		"$$$$(A)": "$$(A)", "$A": "$A", "$": "$", "$$": "$", "$(": "$(", "$(A": "$(A", "$()": "$()", "$(REF)": "$(A)", "[$(EMPTY)]": "[]",
		"$($(A))": "$($(A))", "$(x y)": "spaced", "5$": "5$", "$(A)$": "a$", "$(A)$(NO)$(A)": "a$(NO)a", "$((A))": "$((A))", "\n$(A)\t": "\na\t",
	} {
		if got := Expand(text, lookup); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if _, err := ExpandStrict("a/$(NO)/b", lookup); err == nil || err.Error() != `missing value for "NO"` {
		t.Errorf("a missing name: %v", err)
	}
	if got, err := ExpandStrict("a/$(A)/$$b", lookup); err != nil || got != "a/a/$b" {
		t.Errorf("strictly: %q, %v", got, err)
	}
	if got := ExpandAll([]string{"$(A)", "b"}, []corev1.EnvVar{{Name: "A", Value: "1"}}); strings.Join(got, " ") != "1 b" {
		t.Errorf("all: %v", got)
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"$(A)", "$$", "$(", "a$$(A)$(B)$", "$($(A))"} {
		f.Add(seed)
	}
	same := func(name string) (string, bool) { return "$(" + name + ")", true }
	none := func(string) (string, bool) { return "", false }
	f.Fuzz(func(t *testing.T, text string) {
		want := strings.ReplaceAll(text, "$$", "\x00")
		got := Expand(text, none)
		if again := Expand(text, same); again != got {
			t.Errorf("%q: a name that stands for itself gives %q, an unknown one %q", text, again, got)
		}
		if !strings.Contains(text, "$$") && got != text {
			t.Errorf("%q became %q though nothing could be expanded", text, got)
		}
		if !strings.Contains(text, "\x00") && !strings.Contains(text, "(") && got != strings.ReplaceAll(want, "\x00", "$") {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func TestParseFile(t *testing.T) {
	t.Parallel()
	const text = "# comment\n\n  A='one'\nB='two words # no comment' # a comment\nC='three\nlines\n$(A)'\nD=\nE= 'ignored'\nF='x'\r\n"
	for key, want := range map[string]string{"A": "one", "B": "two words # no comment", "C": "three\nlines\n$(A)", "D": "", "E": "", "F": "x"} {
		if got, ok, err := ParseFile(text, key); err != nil || !ok || got != want {
			t.Errorf("%s is %q (%v, %v), want %q", key, got, ok, err, want)
		}
	}
	if _, ok, err := ParseFile(text, "NO"); ok || err != nil {
		t.Errorf("a missing key: %v, %v", ok, err)
	}
	for text, want := range map[string]string{
		"A='x'\nB=x":    "line 2: value must be enclosed in single quotes",
		"A":             "line 1: missing '='",
		"='x'":          "line 1: empty variable name",
		"A ='x'":        "line 1: whitespace before '=' is not allowed",
		"A='x\ny":       "line 1: unclosed single quote",
		"A='x\ny' z":    "line 2: unexpected content after closing quote",
		"A='x'y":        "line 1: unexpected content after closing quote",
		"\n#c\nA=\"x\"": "line 3: value must be enclosed in single quotes",
	} {
		if _, _, err := ParseFile(text, "A"); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{"A='x'", "A='x\ny' # c\nB=''\n", "A=", "'='='", "A='='"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, ok, err := ParseFile(text, "A")
		if err != nil && (ok || value != "") {
			t.Errorf("%q fails and answers %q", text, value)
		}
		if ok && strings.Contains(value, "'") {
			t.Errorf("%q gives %q, which could not be quoted", text, value)
		}
		if err == nil && ok {
			if again, _, err := ParseFile("A='"+value+"'\n"+text, "A"); err != nil || again != value {
				t.Errorf("%q put before itself gives %q, %v", value, again, err)
			}
		}
	})
}
