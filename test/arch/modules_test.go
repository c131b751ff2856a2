package arch

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestModules compares the modules linked into bin/skiff with modules.txt,
// which gives a reason for each one that the project itself chose.
func TestModules(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{if not .Indirect}} direct{{end}}{{end}}{{end}}", "skiff/cmd/skiff").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{} // module path -> chosen by the project itself
	for line := range strings.Lines(string(out)) {
		if path, direct, _ := strings.Cut(strings.TrimSpace(line), " "); path != "" {
			linked[path] = linked[path] || direct == "direct"
		}
	}
	golden, err := os.ReadFile("modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(golden)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		path, reason, _ := strings.Cut(strings.TrimSpace(line), "  ")
		listed[path] = strings.TrimSpace(reason)
	}
	var problems []string
	for path, direct := range linked {
		reason, ok := listed[path]
		switch {
		case !ok:
			problems = append(problems, path+" is linked but not in modules.txt: add it with its reason")
		case direct && reason == "":
			problems = append(problems, path+" is a direct dependency and has no reason in modules.txt")
		}
	}
	for path := range listed {
		if _, ok := linked[path]; !ok {
			problems = append(problems, path+" is in modules.txt but not linked: remove the line")
		}
	}
	slices.Sort(problems)
	for _, p := range problems {
		t.Error(p)
	}
}
