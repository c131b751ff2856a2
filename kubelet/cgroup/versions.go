package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// v1 is the first version: one tree per controller, each mounted at a path. Beside them a hybrid host has the second version's
// tree without controllers, in which the runtime makes cgroups too: the node has only to remove them.
type v1 struct {
	mounts  []string
	unified string
}

func (h v1) make(name string, limits Limits) error {
	var errs []error
	for _, mount := range h.mounts {
		dir := filepath.Join(mount, name)
		controller := filepath.Base(mount)
		if controller == "cpuset" {
			continue // a new cpuset is empty and must be filled from its parent, which the runtime does
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			errs = append(errs, fmt.Errorf("making %s: %w", dir, err))
			continue
		}
		for _, part := range strings.Split(controller, ",") {
			errs = append(errs, h.limit(dir, part, limits))
		}
	}
	return errors.Join(errs...)
}

func (h v1) limit(dir, controller string, limits Limits) error {
	var errs []error
	switch controller {
	case "cpu":
		if limits.Shares > 0 {
			errs = append(errs, write(dir, "cpu.shares", limits.Shares))
		}
		if limits.Quota > 0 {
			errs = append(errs, write(dir, "cpu.cfs_period_us", period), write(dir, "cpu.cfs_quota_us", limits.Quota))
		}
	case "memory":
		if limits.Memory > 0 {
			errs = append(errs, write(dir, "memory.limit_in_bytes", limits.Memory))
		}
	}
	return errors.Join(errs...)
}

func (h v1) remove(name string) error {
	var first error
	for _, mount := range append([]string{h.unified}, h.mounts...) {
		if err := removeTree(filepath.Join(mount, name)); first == nil {
			first = err
		}
	}
	return first
}

// v2 is the second version: one tree, whose controllers are handed down level by level.
type v2 struct{ mount string }

// handedDown are the controllers that containers need.
func handedDown() []string { return []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} }

func (h v2) make(name string, limits Limits) error {
	dir := h.mount
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if err := h.handDown(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	var errs []error
	if limits.Shares > 0 {
		errs = append(errs, write(dir, "cpu.weight", weight(limits.Shares)))
	}
	if limits.Quota > 0 {
		file := filepath.Join(dir, "cpu.max")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%d %d", limits.Quota, period), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("setting %s: %w", file, err))
		}
	}
	if limits.Memory > 0 {
		errs = append(errs, write(dir, "memory.max", limits.Memory))
	}
	return errors.Join(errs...)
}

// handDown lets the children of a cgroup have the controllers that it has itself.
func (h v2) handDown(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("reading the controllers of %s: %w", dir, err)
	}
	has := strings.Fields(string(text))
	on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("reading the controllers below %s: %w", dir, err)
	}
	var add []string
	for _, name := range handedDown() {
		if contains(has, name) && !contains(strings.Fields(string(on)), name) {
			add = append(add, "+"+name)
		}
	}
	if len(add) == 0 {
		return nil
	}
	file := filepath.Join(dir, "cgroup.subtree_control")
	if err := os.WriteFile(file, []byte(strings.Join(add, " ")), 0o644); err != nil {
		return fmt.Errorf("handing controllers down from %s: %w", dir, err)
	}
	return nil
}

func (h v2) remove(name string) error { return removeTree(filepath.Join(h.mount, name)) }

// weight translates shares (2 to 262144) to the second version's scale (1 to 10000), as runc does for containers.
func weight(shares int64) int64 { return 1 + ((shares-2)*9999)/262142 }

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
