package stats

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// tick is the unit of times in /proc/stat, the same on every architecture Linux shows to programs.
const tick = 10 * time.Millisecond

// host reads what the whole machine uses from a proc filesystem.
type host struct {
	proc string
}

func (h host) read(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(h.proc, name))
	return string(data), err
}

// Columns of the cpu line of /proc/stat that are not work.
const (
	idleColumn   = 4
	iowaitColumn = 5
	guestColumn  = 9 // and guest_nice: both are in user and nice already
)

// cpu answers the time all processors together have worked since boot.
func (h host) cpu() (time.Duration, error) {
	text, err := h.read("stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) <= iowaitColumn || fields[0] != "cpu" {
		return 0, errors.New("the first line of /proc/stat is not the processors'")
	}
	var ticks int64
	for i := 1; i < min(len(fields), guestColumn); i++ {
		if i == idleColumn || i == iowaitColumn {
			continue
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading /proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

func (h host) bootTime() (time.Time, error) {
	text, err := h.read("stat")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "btime "); ok {
			seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("reading the time of boot: %w", err)
			}
			return time.Unix(seconds, 0), nil
		}
	}
	return time.Time{}, errors.New("/proc/stat does not tell the time of boot")
}

// memory counts as the root cgroup would: all that is not free is used, and what of it caches files that were not read
// lately is not needed.
func (h host) memory() (statsapi.MemoryStats, statsapi.SwapStats, error) {
	info, err := h.table("meminfo")
	if err != nil {
		return statsapi.MemoryStats{}, statsapi.SwapStats{}, err
	}
	events, err := h.table("vmstat")
	if err != nil {
		return statsapi.MemoryStats{}, statsapi.SwapStats{}, err
	}
	total := info["MemTotal"] << 10
	usage := total - info["MemFree"]<<10
	working := usage - min(usage, info["Inactive(file)"]<<10)
	available, rss := total-working, info["AnonPages"]<<10
	faults, major := events["pgfault"], events["pgmajfault"]
	swapFree := info["SwapFree"] << 10
	swapUsed := info["SwapTotal"]<<10 - swapFree
	memory := statsapi.MemoryStats{
		AvailableBytes: &available, UsageBytes: &usage, WorkingSetBytes: &working, RSSBytes: &rss,
		PageFaults: &faults, MajorPageFaults: &major,
	}
	return memory, statsapi.SwapStats{SwapAvailableBytes: &swapFree, SwapUsageBytes: &swapUsed}, nil
}

// table reads a file of names and numbers.
func (h host) table(name string) (map[string]uint64, error) {
	text, err := h.read(name)
	if err != nil {
		return nil, err
	}
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
			values[strings.TrimSuffix(fields[0], ":")] = n
		}
	}
	return values, nil
}

// Columns of /proc/net/dev after the interface's name.
const (
	rxBytesColumn  = 0
	rxErrorsColumn = 2
	txBytesColumn  = 8
	txErrorsColumn = 10
)

// network reads the machine's interfaces but for those of pods, the one with the default route first.
func (h host) network(stamp metav1.Time) (*statsapi.NetworkStats, error) {
	text, err := h.read("net/dev")
	if err != nil {
		return nil, err
	}
	result := &statsapi.NetworkStats{Time: stamp}
	out := h.defaultInterface()
	for line := range strings.Lines(text) {
		name, numbers, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		fields := strings.Fields(numbers)
		if !ok || len(fields) <= txErrorsColumn || name == "lo" || strings.HasPrefix(name, "veth") {
			continue
		}
		column := func(i int) *uint64 {
			n, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil {
				return nil
			}
			return &n
		}
		one := statsapi.InterfaceStats{
			Name: name, RxBytes: column(rxBytesColumn), RxErrors: column(rxErrorsColumn),
			TxBytes: column(txBytesColumn), TxErrors: column(txErrorsColumn),
		}
		if name == out {
			result.InterfaceStats = one
		}
		result.Interfaces = append(result.Interfaces, one)
	}
	return result, nil
}

// defaultInterface is the interface of the default route, or empty.
func (h host) defaultInterface() string {
	text, err := h.read("net/route")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			return fields[0]
		}
	}
	return ""
}

// processes answers how many processes there are and may be, or nil if the machine does not tell.
func (h host) processes(stamp metav1.Time) *statsapi.RlimitStats {
	limit, err := h.read("sys/kernel/pid_max")
	if err != nil {
		return nil
	}
	load, err := h.read("loadavg")
	if err != nil {
		return nil
	}
	maxPID, err := strconv.ParseInt(strings.TrimSpace(limit), 10, 64)
	if err != nil {
		return nil
	}
	result := &statsapi.RlimitStats{Time: stamp, MaxPID: &maxPID}
	if fields := strings.Fields(load); len(fields) > 3 {
		_, all, _ := strings.Cut(fields[3], "/")
		if running, err := strconv.ParseInt(all, 10, 64); err == nil {
			result.NumOfRunningProcesses = &running
		}
	}
	return result
}

// filesystem reads the fill of the filesystem dir is on.
func filesystem(dir string, stamp metav1.Time) (*statsapi.FsStats, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, fmt.Errorf("reading the filesystem of %s: %w", dir, err)
	}
	block := uint64(st.Bsize)
	available, capacity, used := st.Bavail*block, st.Blocks*block, (st.Blocks-st.Bfree)*block
	inodesUsed := st.Files - st.Ffree
	return &statsapi.FsStats{
		Time: stamp, AvailableBytes: &available, CapacityBytes: &capacity, UsedBytes: &used,
		Inodes: &st.Files, InodesFree: &st.Ffree, InodesUsed: &inodesUsed,
	}, nil
}
