// Package memory keeps a process small: it gives back what only the start needed, and paces garbage collection by what is
// allocated (docs/decisions/08-memory.md).
package memory

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// startQuiet is how long after the components' start most of its work is done.
const startQuiet = 10 * time.Second

// Settle gives back what only the start needed: garbage, and the pages of the program file that hold code and data which
// is not used again (half of them; what is still used comes back from the page cache at its next use). Until ctx ends it
// then gives back, each time it finds the process idle, what was held while it was busy.
func Settle(ctx context.Context) error {
	timer := time.NewTimer(startQuiet)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	}
	giveBack(ctx)
	defer paceCollector()()
	if userPaced() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for i := newIdleness(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if i.holdsTooMuch() {
				giveBack(ctx)
			}
		}
	}
}

// giveBack gives the kernel what the process doesn't need for now.
func giveBack(ctx context.Context) {
	debug.FreeOSMemory()
	if err := releaseProgramPages(); err != nil {
		klog.FromContext(ctx).Info("Unused pages of the program stay in memory", "reason", err.Error())
	}
}

// releaseProgramPages unmaps the clean pages of this program's file until they are used again.
func releaseProgramPages() error {
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("reading this process's mappings: %w", err)
	}
	defer file.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	var found []mapping
	for lines := bufio.NewScanner(file); lines.Scan(); {
		found = readMapping(found, lines.Text())
	}
	for _, m := range found {
		if m.path != program || !m.clean() {
			continue
		}
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); failed != 0 {
			return fmt.Errorf("releasing %x-%x: %w", m.start, m.end, failed)
		}
	}
	return nil
}

// mapping is one entry of /proc/PID/smaps (proc_pid_smaps(5)).
type mapping struct {
	start, end  uintptr
	permissions string
	path        string
	anonymous   string // kB of pages that differ from the file
}

// clean reports whether every page can be read from the file again.
func (m mapping) clean() bool { return !strings.Contains(m.permissions, "w") && m.anonymous == "0" }

// readMapping adds one line of smaps to what was read before.
func readMapping(found []mapping, line string) []mapping {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return found
	}
	if name, isValue := strings.CutSuffix(fields[0], ":"); isValue {
		if name == "Anonymous" && len(found) > 0 && len(fields) > 1 {
			found[len(found)-1].anonymous = fields[1]
		}
		return found
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err != nil || err2 != nil || len(fields) < 2 {
		return found
	}
	m := mapping{start: uintptr(start), end: uintptr(end), permissions: fields[1]}
	if len(fields) > 5 {
		m.path = strings.Join(fields[5:], " ")
	}
	return append(found, m)
}
