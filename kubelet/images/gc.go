package images

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
)

// Thresholds say when unused images go.
type Thresholds struct {
	// High and Low are percentages of the disk in use: above High, images go until Low is reached.
	High, Low int
	// MinAge keeps images that were seen or used less than this ago.
	MinAge time.Duration
	// Period is how often the disk is looked at.
	Period time.Duration
}

// DefaultThresholds are upstream's.
func DefaultThresholds() Thresholds {
	return Thresholds{High: 85, Low: 80, MinAge: 2 * time.Minute, Period: 5 * time.Minute}
}

// Store is the part of the runtime that the collector needs.
type Store interface {
	Images(ctx context.Context) ([]cri.Image, error)
	RemoveImage(ctx context.Context, id string) error
	ImageFilesystem(ctx context.Context) (cri.Filesystem, error)
}

// Users lists the containers, each of which uses an image.
type Users interface {
	Containers(ctx context.Context, uid string) ([]cri.Container, error)
}

// Collector removes unused images.
type Collector struct {
	thresholds Thresholds
	store      Store
	users      Users
	used       map[string]time.Time
}

// NewCollector makes a collector.
func NewCollector(thresholds Thresholds, store Store, users Users) *Collector {
	return &Collector{thresholds: thresholds, store: store, users: users, used: map[string]time.Time{}}
}

// Candidate is an image that may go.
type Candidate struct {
	Image cri.Image
	// Used is when it was last in use, or first seen.
	Used time.Time
}

// Pick chooses what to remove to free the wanted bytes, the longest unused first, and what that frees.
func Pick(candidates []Candidate, want int64, minAge time.Duration, now time.Time) (ids []string, freed int64) {
	candidates = slices.Clone(candidates)
	slices.SortFunc(candidates, func(a, b Candidate) int { return a.Used.Compare(b.Used) })
	for _, c := range candidates {
		if freed >= want {
			break
		}
		if c.Image.Pinned || now.Sub(c.Used) < minAge {
			continue
		}
		ids, freed = append(ids, c.Image.ID), freed+c.Image.Size
	}
	return ids, freed
}

// Run looks at the disk until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(c.thresholds.Period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.Collect(ctx, false); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Could not collect images")
		}
	}
}

// Collect removes unused images when the disk is too full; with all, every unused one whatever its age.
func (c *Collector) Collect(ctx context.Context, all bool) error {
	candidates, err := c.candidates(ctx)
	if err != nil {
		return err
	}
	fs, err := c.store.ImageFilesystem(ctx)
	if err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(fs.Mountpoint, &disk); err != nil {
		return fmt.Errorf("reading the size of %s: %w", fs.Mountpoint, err)
	}
	capacity := int64(disk.Blocks) * disk.Bsize
	usage := capacity - int64(disk.Bavail)*disk.Bsize
	want, minAge := excess(usage, capacity, c.thresholds), c.thresholds.MinAge
	if all {
		want, minAge = capacity, 0
	}
	ids, freed := Pick(candidates, want, minAge, time.Now())
	for _, id := range ids {
		if err := c.store.RemoveImage(ctx, id); err != nil {
			return err
		}
		delete(c.used, id)
	}
	if freed < want && !all {
		return fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion", want, freed)
	}
	return nil
}

// excess is how many bytes must go.
func excess(usage, capacity int64, t Thresholds) int64 {
	if capacity == 0 || usage*100 < capacity*int64(t.High) {
		return 0
	}
	return usage - capacity*int64(t.Low)/100
}

// candidates are the images that no container uses.
func (c *Collector) candidates(ctx context.Context) ([]Candidate, error) {
	all, err := c.store.Images(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := c.users.Containers(ctx, "")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var out []Candidate
	for _, image := range all {
		if c.used[image.ID].IsZero() {
			c.used[image.ID] = now
		}
		if slices.ContainsFunc(containers, func(k cri.Container) bool { return uses(k, image) }) {
			c.used[image.ID] = now
			continue
		}
		out = append(out, Candidate{image, c.used[image.ID]})
	}
	return out, nil
}

// uses says whether the container runs the image or has it mounted as a volume.
func uses(c cri.Container, image cri.Image) bool {
	for mounted := range strings.SplitSeq(c.Annotations[cri.AnnotationImageVolumes], ",") {
		if mounted == image.ID || slices.Contains(image.Tags, mounted) || slices.Contains(image.RepoDigests, mounted) {
			return true
		}
	}
	return c.ImageRef == image.ID || c.Image == image.ID || slices.Contains(image.Tags, c.Image) || slices.Contains(image.RepoDigests, c.ImageRef)
}
