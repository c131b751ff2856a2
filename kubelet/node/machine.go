package node

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// hostRoot is where the machine's files are read from.
const hostRoot = "/"

// machine is what does not change while the machine runs.
type machine struct {
	machineID, systemUUID, bootID string
	kernel, osImage               string
	cpus                          int64
	memory, swap                  int64            // bytes
	storage, inodes               int64            // of the filesystem with pods' data
	hugePages                     map[string]int64 // bytes set aside, by page size as in hugepages-2Mi
}

// readMachine reads the facts below root; dir is where pods' data will be.
func readMachine(root, dir string) (machine, error) {
	m := machine{
		machineID:  firstLine(root, "etc/machine-id", "var/lib/dbus/machine-id", "sys/class/dmi/id/product_uuid"),
		systemUUID: strings.ToLower(firstLine(root, "sys/class/dmi/id/product_uuid", "etc/machine-id")),
		bootID:     firstLine(root, "proc/sys/kernel/random/boot_id"),
		kernel:     firstLine(root, "proc/sys/kernel/osrelease"),
		osImage:    osImage(root),
		cpus:       cpuCount(firstLine(root, "sys/devices/system/cpu/online")),
		hugePages:  hugePages(root),
	}
	var err error
	if m.memory, m.swap, err = memory(root); err != nil {
		return machine{}, err
	}
	m.storage, m.inodes, err = filesystem(dir)
	return m, err
}

// info is the part of the status that describes machine and software.
func (m machine) info(version, containerRuntime string) corev1.NodeSystemInfo {
	info := corev1.NodeSystemInfo{
		MachineID: m.machineID, SystemUUID: m.systemUUID, BootID: m.bootID,
		KernelVersion: m.kernel, OSImage: m.osImage,
		ContainerRuntimeVersion: containerRuntime, KubeletVersion: version,
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
	if m.swap > 0 {
		info.Swap = &corev1.NodeSwapStatus{Capacity: &m.swap}
	}
	return info
}

// firstLine is the first line of the first of the files that has one.
func firstLine(root string, names ...string) string {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(root, name))
		line, _, _ := strings.Cut(string(data), "\n")
		if line = strings.TrimSpace(line); err == nil && line != "" {
			return line
		}
	}
	return ""
}

func osImage(root string) string {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(value, `"'`)
			}
		}
	}
	return "Linux"
}

// cpuCount counts a list such as 0-3,8. A list that cannot be read means the processors this process may use.
func cpuCount(list string) int64 {
	var count int64
	for part := range strings.SplitSeq(list, ",") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		from, err := strconv.ParseInt(low, 10, 64)
		to, err2 := strconv.ParseInt(high, 10, 64)
		if err != nil || err2 != nil || to < from {
			return int64(runtime.NumCPU())
		}
		count += to - from + 1
	}
	return count
}

// memory answers the machine's memory and swap in bytes.
func memory(root string) (total, swap int64, err error) {
	data, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the machine's memory: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = kib << 10
		case "SwapTotal:":
			swap = kib << 10
		}
	}
	if total == 0 {
		return 0, 0, fmt.Errorf("reading the machine's memory: /proc/meminfo does not tell it")
	}
	return total, swap, nil
}

// filesystem answers the size in bytes and inodes of the filesystem dir is on.
func filesystem(dir string) (size, inodes int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("reading the size of the filesystem of %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Files), nil
}

// hugePages answers the memory set aside in huge pages of each size the machine has.
func hugePages(root string) map[string]int64 {
	const prefix, suffix = "hugepages-", "kB"
	pools, err := filepath.Glob(filepath.Join(root, "sys/kernel/mm/hugepages", prefix+"*"+suffix))
	if err != nil {
		return nil
	}
	pages := map[string]int64{}
	for _, pool := range pools {
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(pool), prefix), suffix), 10, 64)
		if err != nil {
			continue
		}
		count, err := strconv.ParseInt(firstLine(pool, "nr_hugepages"), 10, 64)
		if err != nil {
			continue
		}
		pages[resource.NewQuantity(kib<<10, resource.BinarySI).String()] = count * kib << 10
	}
	return pages
}
