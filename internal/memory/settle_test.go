package memory

import (
	"os"
	"strings"
	"testing"
)

func TestReadMapping(t *testing.T) {
	t.Parallel()
	var found []mapping
	for line := range strings.Lines(`00400000-03f8c000 r-xp 00000000 fe:00 1234                           /opt/my skiff
Size:              60976 kB
Anonymous:             0 kB
03f8c000-08b00000 r--p 03b8c000 fe:00 1234                               /opt/my skiff
Anonymous:             4 kB
08b00000-08c00000 rw-p 08700000 fe:00 1234                               /opt/my skiff
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0 
VmFlags: rd wr mr mw me ac sd
`) {
		found = readMapping(found, line)
	}
	if len(found) != 4 || found[0].path != "/opt/my skiff" || found[0].start != 0x400000 || found[0].end != 0x3f8c000 || found[3].path != "" {
		t.Fatalf("read %+v", found)
	}
	for i, want := range []bool{true, false, false, false} {
		if found[i].clean() != want {
			t.Errorf("mapping %d: clean is %v", i, !want)
		}
	}
}

// TestReleaseProgramPages goes on running from pages that were given back.
func TestReleaseProgramPages(t *testing.T) {
	t.Parallel()
	before := residentFile(t)
	if err := releaseProgramPages(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after >= before {
		t.Errorf("%s kB of files were resident and %s kB are", before, after)
	}
}

func residentFile(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			fields := strings.Fields(rest)
			return strings.Repeat("0", 12-len(fields[0])) + fields[0] // compares as a number
		}
	}
	t.Fatal("no RssFile")
	return ""
}
