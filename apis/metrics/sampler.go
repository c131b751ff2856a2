package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
)

const (
	// resolution is the time between two samples, as metrics-server's default.
	resolution = 15 * time.Second
	// gap lies between the first two samples. Kubelets keep a reading for a second.
	gap = 1100 * time.Millisecond
	// stale is how old the last sample of a node may be: one may get lost.
	stale = 2*resolution + roundTimeout
	// idle is how long samples are taken after somebody asked.
	idle = 2 * time.Minute

	// firstTimeout is how long a request may be kept waiting by kubelets that
	// don't answer, roundTimeout how long a later round may take.
	firstTimeout = 1500 * time.Millisecond
	roundTimeout = 10 * time.Second
	// patience is how long a request waits for the first two samples.
	patience = 2*firstTimeout + gap

	parallel  = 32       // kubelets asked at a time
	maxAnswer = 16 << 20 // of a kubelet, in bytes
)

// sampler asks the kubelets, while somebody wants to know:
//
//	asleep --request--> two samples, gap apart --> a sample every resolution
//	   ^                                                      |
//	   +-------------- nobody asked for idle -----------------+
//
// Asleep it holds nothing. The request that wakes it waits for the two samples;
// others find an answer.
type sampler struct {
	kubelets Kubelets
	nodes    corelisters.NodeLister
	wake     chan struct{} // holds one

	mu    sync.Mutex
	awake bool
	asked time.Time
	known map[string]history // by node
	first chan struct{}      // closed after the first two samples
}

func newSampler(kubelets Kubelets, nodes corelisters.NodeLister) *sampler {
	return &sampler{
		kubelets: kubelets, nodes: nodes, wake: make(chan struct{}, 1),
		known: map[string]history{}, first: make(chan struct{}),
	}
}

// current answers what is known of nodes, waking the sampler if need be.
func (s *sampler) current(ctx context.Context) map[string]history {
	known, first := s.look()
	if known == nil {
		s.await(ctx, first)
		known, _ = s.look()
	}
	return known
}

// look answers what is known, or nil and what is closed when there may be more.
func (s *sampler) look() (map[string]history, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = now()
	if !s.awake {
		return nil, s.first
	}
	known := maps.Clone(s.known)
	maps.DeleteFunc(known, isStale)
	return known, nil
}

func isStale(_ string, h history) bool { return now().Sub(h.taken) > stale }

// await wakes the sampler and waits, but not for ever: it may have ended.
func (s *sampler) await(ctx context.Context, first <-chan struct{}) {
	select {
	case s.wake <- struct{}{}:
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-first:
	case <-ctx.Done():
	}
}

// run works until ctx ends.
func (s *sampler) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		s.sample(ctx)
	}
}

// sample takes samples until nobody wants any, or no node answers. A node that
// answers for the first time is asked again soon.
func (s *sampler) sample(ctx context.Context) {
	tick := time.NewTicker(resolution)
	defer tick.Stop()
	for timeout := firstTimeout; !s.rests(); timeout = roundTimeout {
		s.round(ctx, timeout, s.list(ctx))
		s.round(ctx, firstTimeout+gap, s.newcomers(ctx))
		if !s.publish() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// rests forgets everything and answers true when nobody has asked for long.
func (s *sampler) rests() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now().Sub(s.asked) < idle {
		return false
	}
	s.awake, s.known = false, map[string]history{}
	countPoints(s.known)
	return true
}

// publish ends the wait for the first samples; it answers whether there are any.
func (s *sampler) publish() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake = len(s.known) > 0
	close(s.first)
	s.first = make(chan struct{})
	countPoints(s.known)
	return s.awake
}

// list answers the nodes that have a kubelet to ask, the ready ones first: those
// that may not answer can't keep them waiting.
func (s *sampler) list(ctx context.Context) []*corev1.Node {
	nodes, err := s.nodes.List(labels.Everything())
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing nodes for metrics")
	}
	nodes = slices.DeleteFunc(nodes, func(n *corev1.Node) bool { return n.Status.DaemonEndpoints.KubeletEndpoint.Port <= 0 })
	slices.SortStableFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(unready(a), unready(b)) })
	return nodes
}

func unready(n *corev1.Node) int {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return 0
		}
	}
	return 1
}

// newcomers is the list of those that have answered once.
func (s *sampler) newcomers(ctx context.Context) []*corev1.Node {
	nodes := s.list(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(nodes, func(n *corev1.Node) bool { return s.known[n.Name].samples != 1 })
}

// round takes a sample of each of the nodes, and forgets those that are stale.
func (s *sampler) round(ctx context.Context, timeout time.Duration, nodes []*corev1.Node) {
	start := now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, node := range nodes {
		group.Go(func() error {
			if err := s.ask(ctx, node.Name); err != nil && !errors.Is(err, context.Canceled) {
				klog.FromContext(ctx).V(unready(node)).Info("A kubelet answers no metrics", "node", klog.KObj(node), "err", err)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return none
	tickSeconds.WithLabelValues().Observe(now().Sub(start).Seconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, isStale)
}

// ask adds a sample of the node, not sooner than a kubelet reads anew.
func (s *sampler) ask(ctx context.Context, node string) error {
	s.mu.Lock()
	before := s.known[node]
	s.mu.Unlock()
	if err := pause(ctx, before.taken.Add(gap).Sub(now())); err != nil {
		return err
	}
	taken, err := s.fetch(ctx, node)
	requests.WithLabelValues(fmt.Sprint(err == nil)).Inc()
	if err != nil {
		return err
	}
	after := before.add(taken, now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[node] = after
	return nil
}

// pause waits, not at all for less than nothing.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the next sample: %w", ctx.Err())
	}
}

func (s *sampler) fetch(ctx context.Context, node string) (sample, error) {
	body, err := s.kubelets.ResourceMetrics(ctx, node)
	if err != nil {
		return sample{}, fmt.Errorf("asking the kubelet of %s: %w", node, err)
	}
	defer body.Close()
	out, err := parse(io.LimitReader(body, maxAnswer), now())
	if err != nil {
		return sample{}, fmt.Errorf("asking the kubelet of %s: %w", node, err)
	}
	return out, nil
}
