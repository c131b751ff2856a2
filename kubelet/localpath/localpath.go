// Package localpath provisions PersistentVolumes from the node's own disk, for StorageClasses whose provisioner is
// skiff.dev/local-path.
//
// It is an external provisioner as CSI drivers bring one, of the kind that runs on every node and serves its own: a
// claim comes with the node that the scheduler chose, that node makes the directory pvc-UID and the volume of that
// name, and when the volume is released, and its policy is Delete, the node removes the directory, then the volume.
// Claims that ask for more get it: sizes are recorded and not enforced.
//
//	claim ──selected node──▶ directory ──▶ volume ──claim gone──▶ directory renamed ──▶ removed ──▶ volume gone
//
// Every step finds out what is there and finishes it, so the process may be killed between any two. Two things never
// happen: something outside Config.Root is deleted (names are checked, and all is done below an os.Root, which follows
// no link out of it), and the content of a directory that is still mounted is deleted (see Directory.Remove).
package localpath

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

const (
	// Name is what storage classes call this provisioner.
	Name = "skiff.dev/local-path"
	// Account is the service account that it acts as; it is no node's identity, which may write no volume.
	Account = "system:serviceaccount:kube-system:local-path-provisioner"
)

// A failed key is tried again after firstRetry, then at growing intervals up to lastRetry.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Config says whom to serve and where.
type Config struct {
	// Node is the name of this node.
	Node string
	// Root is the directory of the volumes' directories; nothing else is in it.
	Root string
}

// Deps is what the provisioner works with.
type Deps struct {
	// Client acts as Account.
	Client kubernetes.Interface
	// Informers are shared; New registers what it needs.
	Informers informers.SharedInformerFactory
	// Events tells of claims and volumes; its component is Name.
	Events record.EventRecorder
}

// Provisioner serves one node.
type Provisioner struct {
	config Config
	client kubernetes.Interface
	events record.EventRecorder
	disk   *Directory

	claims  listers.PersistentVolumeClaimLister
	volumes listers.PersistentVolumeLister
	pods    listers.PodLister
	nodes   listers.NodeLister
	classes storagelisters.StorageClassLister

	ofClaims, ofVolumes loop
	synced              []cache.InformerSynced
}

// loop is a queue with the function that its keys are for.
type loop struct {
	informer  cache.SharedIndexInformer
	reconcile func(context.Context, types.NamespacedName) error
	queue     workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// New makes a provisioner and starts nothing.
func New(config Config, deps Deps) (*Provisioner, error) {
	if config.Node == "" || !filepath.IsAbs(config.Root) {
		return nil, errors.New("local volumes need the name of their node and an absolute directory")
	}
	core, classes := deps.Informers.Core().V1(), deps.Informers.Storage().V1().StorageClasses()
	p := &Provisioner{
		config: config, client: deps.Client, events: deps.Events, disk: &Directory{Root: config.Root},
		claims: core.PersistentVolumeClaims().Lister(), volumes: core.PersistentVolumes().Lister(),
		pods: core.Pods().Lister(), nodes: core.Nodes().Lister(), classes: classes.Lister(),
	}
	p.ofClaims = loop{informer: core.PersistentVolumeClaims().Informer(), reconcile: p.reconcileClaim}
	p.ofVolumes = loop{informer: core.PersistentVolumes().Informer(), reconcile: p.reconcileVolume}
	p.synced = []cache.InformerSynced{
		p.ofClaims.informer.HasSynced, p.ofVolumes.informer.HasSynced, classes.Informer().HasSynced,
		core.Pods().Informer().HasSynced, core.Nodes().Informer().HasSynced,
	}
	return p, nil
}

// Run provisions and removes until ctx ends.
func (p *Provisioner) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("local-path"))
	if !cache.WaitForCacheSync(ctx.Done(), p.synced...) {
		return nil
	}
	if err := p.sweep(); err != nil {
		klog.FromContext(ctx).Error(err, "Looking for directories without a volume")
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range []*loop{&p.ofClaims, &p.ofVolumes} {
		group.Go(func() error { return l.run(ctx) })
	}
	return group.Wait()
}

// sweep removes what an earlier process left when it was killed: the rest of directories that it was removing, and
// directories, still empty, whose volume it had not created and whose claim is gone.
func (p *Provisioner) sweep() error {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing claims: %w", err)
	}
	wanted := map[string]bool{}
	for _, claim := range claims {
		wanted[VolumeName(claim)] = true
	}
	return p.disk.Sweep(func(name string) bool {
		_, err := p.volumes.Get(name)
		return err == nil || wanted[name]
	})
}

func (l *loop) run(ctx context.Context) error {
	l.queue = workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry))
	stop := context.AfterFunc(ctx, l.queue.ShutDown)
	defer stop()
	defer l.queue.ShutDown()
	add := func(o any) {
		if m, ok := o.(metav1.Object); ok {
			l.queue.Add(types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetName()})
		}
	}
	registration, err := l.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, o any) { add(o) },
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("following volumes and claims: %w", err)
	}
	defer func() { _ = l.informer.RemoveEventHandler(registration) }()
	for {
		key, ended := l.queue.Get()
		if ended {
			return nil
		}
		l.one(ctx, key)
	}
}

func (l *loop) one(ctx context.Context, key types.NamespacedName) {
	defer l.queue.Done(key)
	err := l.reconcile(ctx, key)
	if err == nil || ctx.Err() != nil {
		l.queue.Forget(key)
		return
	}
	klog.FromContext(ctx).V(2).Info("Trying again", "key", key, "err", err)
	l.queue.AddRateLimited(key)
}

// hostname is the value of the label that ties volumes to this node.
func (p *Provisioner) hostname() string {
	if node, err := p.nodes.Get(p.config.Node); err == nil && node.Labels[corev1.LabelHostname] != "" {
		return node.Labels[corev1.LabelHostname]
	}
	return p.config.Node
}
