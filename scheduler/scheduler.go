// Package scheduler places pods on nodes. It takes upstream kube-scheduler's decisions, on a cluster picture that is
// never copied.
//
// One goroutine takes a pod from the queue, decides, and assumes the decision in the cache, so that the next pod sees it.
// Everything that talks to the API (binding, events, conditions, evictions) runs beside it:
//
//	informers -> handlers -> cache, queue
//	loop:     Pop -> snapshot -> filter, score -> assume -+-> bind -> Scheduled
//	            ^                 | no node               |    | failed: forget
//	            '--- Requeue <----+-----------------------+----'
//
// What the API says always wins: an assumed pod is confirmed, moved or removed by what the informer delivers, and a pod
// that is bound or gone is never queued again.
package scheduler

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"skiff/scheduler/cache"
	"skiff/scheduler/extender"
	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
	"skiff/scheduler/queue"
)

// Scheduler is one scheduler with its profiles. Make it with New.
type Scheduler struct {
	cfg        Config
	client     kubernetes.Interface
	pods       corelisters.PodLister
	cache      *cache.Cache
	queue      *queue.Queue
	nominator  *queue.Nominator
	profiles   *profiles
	extenders  []*extender.Extender
	recorders  *recorders
	metrics    *schedulerMetrics
	background *background
	bindings   *lane
	devices    *plugins.Devices
	writer     *statusWriter
	synced     []toolscache.DoneChecker
	// nextNode is where the search for nodes goes on, so that all nodes get their turn. The loop's own.
	nextNode int
	// statuses is room for what filters say in the order of a search, positioned for the same by position of the node, and
	// open for the indexes that aren't known before, doubtful for the positions of nodes that were promised to pods; used anew
	// for every search. The loop's own.
	statuses, positioned []*framework.Status
	open, doubtful       []int
	remembered           memory
}

// New wires a scheduler and registers its informers; it starts nothing.
func New(cfg Config, deps Deps) (*Scheduler, error) {
	cfg = cfg.Default()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("checking the scheduler's configuration: %w", err)
	}
	s := &Scheduler{
		cfg:        cfg,
		client:     deps.Client,
		pods:       deps.Informers.Core().V1().Pods().Lister(),
		cache:      cache.New(),
		nominator:  queue.NewNominator(),
		profiles:   &profiles{byName: map[string]*profile{}, extended: len(cfg.Extenders) > 0},
		background: &background{},
		devices:    plugins.NewDevices(deps.Informers),
	}
	s.bindings = &lane{background: s.background, width: parallelBindings}
	s.writer = newStatusWriter(s)
	s.recorders = newRecorders(deps.Client, s.background)
	s.metrics = newMetrics(s)
	if err := s.metrics.register(deps.Metrics); err != nil {
		return nil, err
	}
	if err := s.addExtenders(); err != nil {
		return nil, err
	}
	if err := s.addProfiles(s.pluginDeps(deps)); err != nil {
		return nil, err
	}
	s.queue = queue.New(queue.Config{
		InitialBackoff: cfg.InitialBackoff, MaxBackoff: cfg.MaxBackoff, Incoming: s.metrics.incoming, Hinted: s.metrics.hinted, Sample: s.metrics.sample,
	}, s.profiles)
	s.background.activate = s.queue.Activate
	if err := s.watch(deps.Informers); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Scheduler) pluginDeps(deps Deps) plugins.Deps {
	d := plugins.Deps{
		Client: deps.Client, Informers: deps.Informers,
		Background: s.background, Nominations: s.nominator, Observer: s.metrics, Devices: s.devices,
	}
	for _, e := range s.extenders {
		d.Extenders = append(d.Extenders, e)
	}
	return d
}

// Run schedules until ctx ends, and returns when everything it started has ended. With leader election it first waits
// for the lease, and fails when it loses it.
func (s *Scheduler) Run(ctx context.Context) error {
	if s.cfg.LeaderElection {
		return s.lead(ctx)
	}
	return s.run(ctx)
}

func (s *Scheduler) run(ctx context.Context) error {
	if !toolscache.WaitFor(ctx, "scheduler", s.synced...) {
		return nil
	}
	stopRecording, err := s.recorders.start(ctx)
	if err != nil {
		return err
	}
	defer stopRecording()
	defer s.closeExtenders()
	s.background.start(ctx)
	defer s.background.join()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.queue.Run(ctx) })
	group.Go(func() error { return s.loop(ctx) })
	return group.Wait()
}

func (s *Scheduler) loop(ctx context.Context) error {
	for {
		p := s.queue.Pop(ctx)
		if p == nil {
			return nil
		}
		s.scheduleOne(ctx, p)
	}
}

// background runs what must not hold up the loop, and joins it.
type background struct {
	activate func(uid types.UID)
	mu       sync.Mutex
	ctx      func() context.Context
	wg       sync.WaitGroup
}

func (b *background) start(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ctx = func() context.Context { return ctx }
}

// Go runs work under the scheduler's context. Only the loop and work itself call it, so it never races with join.
func (b *background) Go(work func(ctx context.Context)) {
	b.mu.Lock()
	ctx := b.ctx()
	b.mu.Unlock()
	b.wg.Go(func() { work(ctx) })
}

// Activate queues a pod at once.
func (b *background) Activate(uid types.UID) { b.activate(uid) }

func (b *background) join() { b.wg.Wait() }
