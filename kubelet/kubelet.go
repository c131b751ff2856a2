// Package kubelet runs this node's pods.
//
// It composes the parts below it: pod (a machine and a worker per pod), images, cgroup, status and evict, over one container
// runtime that it speaks to through cri. It learns its pods from the shared informers, and what happens to containers from the
// runtime's events. When it ends, containers keep running; when it starts again it finds them and restarts nothing.
//
// What the node says of itself, its endpoint and its volumes are packages of their own, handed in or served by the methods here.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"skiff/kubelet/cgroup"
	"skiff/kubelet/cri"
	"skiff/kubelet/evict"
	"skiff/kubelet/images"
	"skiff/kubelet/logs"
	"skiff/kubelet/objects"
	"skiff/kubelet/pod"
	"skiff/kubelet/status"
)

// Config is what the kubelet can be told.
type Config struct {
	NodeName string
	// NodeIPs are the node's addresses, the primary one first.
	NodeIPs []string
	// Root is where files of pods live; LogDir where container logs go (Root/logs when empty).
	Root, LogDir string
	// CgroupRoot is the parent of all pods' cgroups, such as /kubepods-main.
	CgroupRoot string
	// ClusterDNS and ClusterDomain go into pods' resolv.conf; ResolvConf is the host's file (/etc/resolv.conf when empty).
	ClusterDNS    []string
	ClusterDomain string
	ResolvConf    string
	// PauseImage is the sandbox image to wait for at the start; none when empty.
	PauseImage string
	// MaxParallelPulls is how many images are pulled at once; any number when zero.
	MaxParallelPulls int
	// ImageThresholds say when unused images are removed; upstream's when zero.
	ImageThresholds images.Thresholds
	// Eviction says when pods are evicted; upstream's hard thresholds when nil.
	Eviction *evict.Thresholds
	// Logs bounds containers' logs.
	Logs logs.RotationConfig
}

// Deps is what the kubelet works with.
type Deps struct {
	// Client is the API with the node's identity.
	Client kubernetes.Interface
	// Informers are shared; New registers what it needs.
	Informers   informers.SharedInformerFactory
	Runtime     *cri.Client
	Volumes     pod.Volumes
	Environment pod.Environment
	// Network is asked before a pod's containers start; nil when nobody is to be.
	Network pod.Network
}

// Kubelet runs the pods of one node.
type Kubelet struct {
	config   Config
	deps     Deps
	informer cache.SharedIndexInformer
	synced   []cache.InformerSynced
	events   *recorder
	statuses *status.Writer
	pods     *pod.Manager
	images   *images.Manager
	garbage  *images.Collector
	evictor  *evict.Manager
	ready    chan struct{}
}

// New composes a kubelet and starts nothing.
func New(config Config, deps Deps) (*Kubelet, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	cgroups, err := cgroup.New(config.CgroupRoot)
	if err != nil {
		return nil, err
	}
	host, err := config.host()
	if err != nil {
		return nil, err
	}
	core := deps.Informers.Core().V1()
	secrets := core.Secrets()
	k := &Kubelet{
		config: config, deps: deps, informer: core.Pods().Informer(), ready: make(chan struct{}),
		events: newRecorder(deps.Client, config.NodeName), statuses: status.NewWriter(deps.Client.CoreV1()),
		garbage: images.NewCollector(config.ImageThresholds, deps.Runtime, deps.Runtime),
	}
	k.synced = []cache.InformerSynced{k.informer.HasSynced, secrets.Informer().HasSynced}
	reader := objects.New(deps.Client, deps.Informers)
	classes := deps.Informers.Node().V1().RuntimeClasses().Lister()
	k.images = images.New(images.Config{MaxParallelPulls: config.MaxParallelPulls}, deps.Runtime, reader.Secret, k.events)
	k.pods = pod.NewManager(pod.Deps{
		Runtime: deps.Runtime, Volumes: deps.Volumes, Environment: deps.Environment, Images: k.images, Cgroups: cgroups, Network: deps.Network,
		Recorder: k.events, Statuses: k.statuses, Host: host,
		Handler: func(name string) (string, error) {
			class, err := classes.Get(name)
			if err != nil {
				return "", fmt.Errorf("failed to get sandbox runtime: %w", err)
			}
			return class.Handler, nil
		},
	})
	k.evictor = evict.New(*config.Eviction, evict.Deps{Pods: k.pods, Stats: deps.Runtime, Collect: k.garbage.Collect, Recorder: k.events, Root: config.Root})
	return k, nil
}

func (c Config) withDefaults() Config {
	if c.LogDir == "" {
		c.LogDir = filepath.Join(c.Root, "logs")
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.ImageThresholds == (images.Thresholds{}) {
		c.ImageThresholds = images.DefaultThresholds()
	}
	if c.Eviction == nil {
		thresholds := evict.DefaultThresholds()
		c.Eviction = &thresholds
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.NodeName == "":
		return errors.New("the kubelet needs the name of its node")
	case !filepath.IsAbs(c.Root):
		return fmt.Errorf("the kubelet's root must be an absolute path, not %q", c.Root)
	case len(c.NodeIPs) == 0:
		return errors.New("the kubelet needs the address of its node")
	}
	return nil
}

// host is what pods' configurations need to know of the node.
func (c Config) host() (pod.Host, error) {
	resolver, err := pod.ReadResolver(c.ResolvConf)
	if err != nil {
		return pod.Host{}, fmt.Errorf("reading the host's resolver configuration: %w", err)
	}
	memory, err := evict.MemoryCapacity()
	if err != nil {
		return pod.Host{}, err
	}
	return pod.Host{
		Root: c.Root, Logs: c.LogDir, ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain, Resolver: resolver,
		MemoryCapacity: memory, NodeName: c.NodeName, IPs: c.NodeIPs, Cgroup2: cgroup.Unified(),
	}, nil
}

// Ready is closed when the kubelet runs pods and knows what the runtime has of each.
func (k *Kubelet) Ready() <-chan struct{} { return k.ready }

// Run runs pods until ctx ends. Containers keep running afterwards.
func (k *Kubelet) Run(ctx context.Context) error {
	for _, dir := range []string{k.config.Root, k.config.LogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the kubelet's directories: %w", err)
		}
	}
	k.events.start()
	defer k.events.shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), k.synced...) {
		return nil
	}
	if err := k.awaitRuntime(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return k.pods.Run(ctx) })
	group.Go(func() error { return k.statuses.Run(ctx) })
	group.Go(func() error { return k.follow(ctx) })
	group.Go(func() error { return k.garbage.Run(ctx) })
	group.Go(func() error { return k.evictor.Run(ctx) })
	group.Go(func() error { return logs.NewRotator(k.config.Logs, containerLogs{k}).Run(ctx) })
	if err := k.adopt(ctx); err != nil && ctx.Err() == nil {
		return errors.Join(err, group.Wait())
	}
	stop, err := k.watch(ctx)
	if err != nil {
		return errors.Join(err, group.Wait())
	}
	k.pods.Settle(ctx)
	close(k.ready)
	err = group.Wait()
	stop()
	return err
}

// adopt ends what the runtime, or the disk, has of pods that the API doesn't.
func (k *Kubelet) adopt(ctx context.Context) error {
	sandboxes, err := k.deps.Runtime.Sandboxes(ctx, "")
	if err != nil {
		return err
	}
	known := map[types.UID]bool{}
	for _, object := range k.informer.GetStore().List() {
		if p, ok := object.(*corev1.Pod); ok && p.Spec.NodeName == k.config.NodeName {
			known[p.UID] = true
		}
	}
	for _, s := range sandboxes {
		if s.Labels[cri.LabelPodUID] != "" && !known[types.UID(s.UID)] {
			k.pods.Orphan(s)
			known[types.UID(s.UID)] = true
		}
	}
	earlier, ok := k.deps.Volumes.(rememberer)
	if !ok {
		return nil
	}
	left, err := earlier.Pods()
	if err != nil {
		return err
	}
	for _, uid := range left {
		if !known[uid] {
			k.pods.Orphan(cri.Sandbox{UID: string(uid)})
		}
	}
	return nil
}

// rememberer knows the pods that an earlier process made volumes for. One of which nothing else is left still has to lose them.
type rememberer interface {
	Pods() ([]types.UID, error)
}

// watch tells the workers of the API's pods on this node, and returns when they know the present ones. stop ends that.
func (k *Kubelet) watch(ctx context.Context) (stop func(), err error) {
	registration, err := k.informer.AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: k.ours,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { k.pods.Update(object.(*corev1.Pod)) },
			UpdateFunc: func(_, object any) { k.pods.Update(object.(*corev1.Pod)) },
			DeleteFunc: func(object any) {
				if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = gone.Obj
				}
				if p, ok := object.(*corev1.Pod); ok {
					k.images.ForgetPod(p.UID)
					k.pods.Remove(p)
				}
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("following pods: %w", err)
	}
	cache.WaitForCacheSync(ctx.Done(), registration.HasSynced)
	return func() { _ = k.informer.RemoveEventHandler(registration) }, nil
}

func (k *Kubelet) ours(object any) bool {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	p, ok := object.(*corev1.Pod)
	return ok && p.Spec.NodeName == k.config.NodeName
}

// retry is the wait before the runtime is asked or followed again.
const retry = 100 * time.Millisecond

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Wake makes the worker of a pod try again at once what failed, when something changed that it waits for.
func (k *Kubelet) Wake(uid types.UID) { k.pods.Retry(uid) }

// Pressure answers what the node is short of.
func (k *Kubelet) Pressure() evict.Pressure { return k.evictor.Pressure() }
