// Package stats tells what the node and its pods use, in the form of the kubelet's summary API.
//
// Pods and containers are asked of the container runtime, which reads their cgroups of either version; the node itself
// is read from /proc, which is the same under both. Nothing is sampled in the background: a request reads, and requests
// within a second share one reading, so a node nobody asks about pays nothing.
package stats

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"skiff/kubelet/cri"
)

// Config says whose statistics these are.
type Config struct {
	NodeName string
	// Root is a directory on the filesystem of pods' data.
	Root string
	// MaxAge is how old an answer may be; 1 s by default.
	MaxAge time.Duration
}

// Runtime is the source of what pods and containers use.
type Runtime interface {
	Stats(ctx context.Context) ([]cri.PodStats, error)
	ImageFilesystem(ctx context.Context) (cri.Filesystem, error)
}

// Pods answers the pods on this node with their status, for when things started.
type Pods interface {
	Pods() []*corev1.Pod
}

// Volumes answers what was measured of a pod's volumes.
type Volumes interface {
	Usage(uid types.UID) []statsapi.VolumeStats
}

// Provider answers statistics. It is safe for concurrent use.
type Provider struct {
	config  Config
	runtime Runtime
	pods    Pods
	volumes Volumes
	host    host

	mu     sync.Mutex
	cached *statsapi.Summary
	at     time.Time
	rates  rates
}

// New takes volumes, which may be nil, and a first sample of the node's processors, so that the first answer knows a rate.
func New(config Config, runtime Runtime, pods Pods, volumes Volumes) (*Provider, error) {
	if config.MaxAge == 0 {
		config.MaxAge = time.Second
	}
	p := &Provider{config: config, runtime: runtime, pods: pods, volumes: volumes, host: host{proc: "/proc"}, rates: rates{}}
	total, err := p.host.cpu()
	if err != nil {
		return nil, fmt.Errorf("reading the node's processor time: %w", err)
	}
	p.rates.next("node", time.Now(), total)
	return p, nil
}

// Summary answers what node and pods use. The answer is shared: it must not be changed.
func (p *Provider) Summary(ctx context.Context) (*statsapi.Summary, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cached != nil && time.Since(p.at) < p.config.MaxAge {
		return p.cached, nil
	}
	used, err := p.runtime.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading what pods use: %w", err)
	}
	node, err := p.node(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading what the node uses: %w", err)
	}
	summary := &statsapi.Summary{Node: node, Pods: p.podStats(used)}
	p.rates.forgetUnused()
	p.cached, p.at = summary, time.Now()
	return summary, nil
}

// node reads the node's own statistics.
func (p *Provider) node(ctx context.Context) (statsapi.NodeStats, error) {
	now := time.Now()
	stamp := metav1.NewTime(now)
	result := statsapi.NodeStats{NodeName: p.config.NodeName}
	total, err := p.host.cpu()
	if err != nil {
		return result, err
	}
	result.CPU = &statsapi.CPUStats{
		Time: stamp, UsageCoreNanoSeconds: nanoseconds(total), UsageNanoCores: p.rates.next("node", now, total),
	}
	memory, swap, err := p.host.memory()
	if err != nil {
		return result, err
	}
	memory.Time, swap.Time = stamp, stamp
	result.Memory, result.Swap = &memory, &swap
	if result.StartTime.Time, err = p.host.bootTime(); err != nil {
		return result, err
	}
	if result.Network, err = p.host.network(stamp); err != nil {
		return result, err
	}
	if result.Fs, err = filesystem(p.config.Root, stamp); err != nil {
		return result, err
	}
	result.Rlimit = p.host.processes(stamp)
	result.Runtime, err = p.images(ctx, stamp)
	return result, err
}

// images are the statistics of the filesystem with images and writable layers. A runtime that does not tell costs only
// them.
func (p *Provider) images(ctx context.Context, stamp metav1.Time) (*statsapi.RuntimeStats, error) {
	store, err := p.runtime.ImageFilesystem(ctx)
	if err != nil || store.Mountpoint == "" {
		return nil, nil //nolint:nilerr,nilnil // told above: no statistics is an answer here
	}
	fs, err := filesystem(store.Mountpoint, stamp)
	if err != nil {
		return nil, err
	}
	containers := *fs
	fs.UsedBytes, fs.InodesUsed = &store.UsedBytes, &store.Inodes
	return &statsapi.RuntimeStats{ImageFs: fs, ContainerFs: &containers}, nil
}

// rates turns growing totals into rates per second, by remembering each total's last value.
type rates map[string]*rate

type rate struct {
	at    time.Time
	total time.Duration
	cores *uint64
	used  bool
}

// next notes a total and answers the rate since the one noted before, in billionths of a core; nil at first.
func (r rates) next(key string, at time.Time, total time.Duration) *uint64 {
	before, ok := r[key]
	if !ok {
		r[key] = &rate{at: at, total: total, used: true}
		return nil
	}
	before.used = true
	elapsed := at.Sub(before.at)
	if elapsed <= 0 || total < before.total {
		return before.cores
	}
	cores := uint64(float64(total-before.total) / elapsed.Seconds())
	before.at, before.total, before.cores = at, total, &cores
	return &cores
}

// forgetUnused drops the totals that were not noted since the last call.
func (r rates) forgetUnused() {
	for key, kept := range r {
		if !kept.used {
			delete(r, key)
		}
		kept.used = false
	}
}

func nanoseconds(d time.Duration) *uint64 {
	n := uint64(max(d, 0))
	return &n
}
