// Package attachdetach attaches volumes of CSI to the nodes of the pods that use them, and detaches them when no pod
// does, by VolumeAttachments that drivers' attachers carry out.
//
// The attachments and the nodes' statuses are all the state there is, so a restarted process goes on where the last one
// ended. A node's status.volumesAttached tells its kubelet what it may mount; status.volumesInUse tells this controller
// what it must not detach:
//
//	wanted   ── create ──> attaching ── driver ──> attached, reported
//	unwanted ── not in use, or given up ──> unreported ── delete ──> detaching ── driver ──> gone
//
// A node is given up on when it is out of service, or unhealthy for six minutes since the volume was last wanted.
package attachdetach

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	translation "k8s.io/csi-translation-lib"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

const byNode, bySource = "skiff.controllers/attachments-of-node", "skiff.controllers/attachments-of-source"

type reconciler struct {
	env         controller.Env
	resolver    resolver
	pods        cache.Indexer
	nodes       listers.NodeLister
	nodeIndex   cache.Indexer
	attachments cache.Indexer
	log         written.Log
	operations  *operations

	mu     sync.Mutex
	memory map[string]*memory
}

// memory is what is known of a node that no object tells.
type memory struct {
	since map[corev1.UniqueVolumeName]time.Time
	// told is when the failure was that users were told of last.
	told map[corev1.UniqueVolumeName]time.Time
	// blocked are the volumes that wait for other nodes.
	blocked map[corev1.UniqueVolumeName]blockedVolume
	// lost is what a node used that is gone.
	lost []corev1.UniqueVolumeName
	gone bool
}

// blockedVolume has the index key of the attachments that it waits for, and whether users were told.
type blockedVolume struct {
	source string
	told   bool
}

// New declares the controller; its keys are nodes. There is one worker: two could attach an exclusive volume twice.
func New(env controller.Env) (controller.Spec, error) {
	core, storage := env.Informers.Core().V1(), env.Informers.Storage().V1()
	pods, nodes := core.Pods(), core.Nodes()
	attachments := storage.VolumeAttachments().Informer()
	if err := claims.Index(pods.Informer()); err != nil {
		return controller.Spec{}, err
	}
	if err := podset.AddNodeIndex(pods.Informer()); err != nil {
		return controller.Spec{}, err
	}
	if err := attachments.AddIndexers(cache.Indexers{byNode: nodeOf, bySource: sourceOf}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing attachments: %w", err)
	}
	r := &reconciler{
		env: env, pods: pods.Informer().GetIndexer(), nodes: nodes.Lister(), nodeIndex: nodes.Informer().GetIndexer(), attachments: attachments.GetIndexer(),
		resolver: resolver{
			claims: core.PersistentVolumeClaims().Lister(), volumes: core.PersistentVolumes().Lister(),
			drivers: storage.CSIDrivers().Lister(), translate: translation.New(),
		},
		operations: newOperations(), memory: map[string]*memory{},
	}
	if err := controller.Register(env.Metrics, "attaching", r.operations.seconds); err != nil {
		return controller.Spec{}, err //nolint:wrapcheck // says all that is to say
	}
	registerMetrics(r)
	return controller.Spec{
		Name: "attachdetach", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: pods.Informer(), Keys: ofPod},
			{Informer: nodes.Informer(), Keys: r.ofNode},
			{Informer: core.PersistentVolumeClaims().Informer(), Keys: r.ofClaim},
			{Informer: core.PersistentVolumes().Informer(), Keys: r.ofVolume},
			{Informer: attachments, Keys: r.ofAttachment},
			{Informer: storage.CSIDrivers().Informer(), Keys: r.ofDriver},
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	state, err := r.state(key.Name)
	if err != nil {
		return controller.Result{}, err
	}
	r.operations.look(key.Name, r.attachment, r.env.Clock.Now())
	if state.Node == nil && len(state.Wanted) == 0 && len(state.Attachments) == 0 {
		r.forget(key.Name)
		return controller.Result{}, nil
	}
	plan := Plan(state)
	r.remember(key.Name, plan)
	waits, err := r.apply(ctx, key, state.Node, plan)
	if err != nil {
		return controller.Result{}, err
	}
	again := plan.Again
	if waits && (again == 0 || again > written.Repair) {
		again = written.Repair
	}
	return controller.Result{RequeueAfter: again}, nil
}

// state reads what there is on the node.
func (r *reconciler) state(name string) (State, error) {
	node, err := r.nodes.Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return State{}, fmt.Errorf("reading node: %w", err)
	}
	if err != nil {
		node = nil
	}
	pods, err := podset.OnNode(r.pods, name)
	if err != nil {
		return State{}, err //nolint:wrapcheck // says all that is to say
	}
	s := State{
		Name: name, Node: node, Elsewhere: r.elsewhere(name), Now: r.env.Clock.Now(),
		Attachments: map[corev1.UniqueVolumeName]*storagev1.VolumeAttachment{}, Wanted: map[corev1.UniqueVolumeName]*Volume{},
	}
	r.mu.Lock()
	m := r.of(name)
	s.Since, s.InUse, s.AllInUse = m.since, m.lost, !m.gone
	r.mu.Unlock()
	if node != nil {
		s.InUse, s.AllInUse = node.Status.VolumesInUse, false
	}
	if managed(node) {
		s.Wanted = r.resolver.wanted(pods)
	}
	attachments, err := r.indexed(byNode, name)
	if err != nil {
		return State{}, err
	}
	for _, a := range attachments {
		if volume := Identify(a, r.candidates(a, s)); volume != "" {
			s.Attachments[volume] = a
		}
	}
	return s, nil
}

// managed answers whether the node leaves attaching to this controller. Of a node that is gone that is not known, and
// its pods are left what they have until they are gone too.
func managed(node *corev1.Node) bool {
	if node == nil {
		return true
	}
	_, ok := node.Annotations["volumes.kubernetes.io/controller-managed-attach-detach"]
	return ok
}

// candidates are the volumes that the attachment may be of: its PersistentVolume may be gone.
func (r *reconciler) candidates(a *storagev1.VolumeAttachment, s State) []corev1.UniqueVolumeName {
	names := []corev1.UniqueVolumeName{r.resolver.attached(a)}
	names = append(names, sorted(s.Wanted)...)
	names = append(names, s.InUse...)
	names = append(names, sorted(s.Since)...)
	if s.Node != nil {
		for _, v := range s.Node.Status.VolumesAttached {
			names = append(names, v.Name)
		}
	}
	return names
}

func (r *reconciler) indexed(index, key string) ([]*storagev1.VolumeAttachment, error) {
	items, err := r.attachments.ByIndex(index, key)
	if err != nil {
		return nil, fmt.Errorf("reading the index of attachments: %w", err)
	}
	var all []*storagev1.VolumeAttachment
	for _, item := range items {
		if a, ok := item.(*storagev1.VolumeAttachment); ok {
			all = append(all, a)
		}
	}
	return all, nil
}

// attachment answers the one of that name, nil if there is none.
func (r *reconciler) attachment(name string) *storagev1.VolumeAttachment {
	item, ok, err := r.attachments.GetByKey(name)
	if a, is := item.(*storagev1.VolumeAttachment); is && ok && err == nil {
		return a
	}
	return nil
}

// elsewhere finds the attachments of a volume to other nodes than the one.
func (r *reconciler) elsewhere(here string) func(*Volume) []Elsewhere {
	return func(v *Volume) []Elsewhere {
		attachments, err := r.indexed(bySource, sourceKey(v.Source))
		if err != nil {
			return nil
		}
		var all []Elsewhere
		for _, a := range attachments {
			if a.Spec.NodeName == here || Identify(a, []corev1.UniqueVolumeName{v.Name}) == "" {
				continue
			}
			e := Elsewhere{Node: a.Spec.NodeName}
			pods, err := podset.OnNode(r.pods, e.Node)
			if there := r.resolver.wanted(pods)[v.Name]; err == nil && there != nil {
				e.Pods = there.Pods
			}
			node, err := r.nodes.Get(e.Node)
			idle := err == nil && len(e.Pods) == 0 && !slices.Contains(node.Status.VolumesInUse, v.Name)
			e.Leaving = a.Status.DetachError == nil && (a.DeletionTimestamp != nil || idle)
			all = append(all, e)
		}
		slices.SortFunc(all, func(a, b Elsewhere) int { return compare(a.Node, b.Node) })
		return all
	}
}

func (r *reconciler) of(node string) *memory {
	m := r.memory[node]
	if m == nil {
		m = &memory{told: map[corev1.UniqueVolumeName]time.Time{}, blocked: map[corev1.UniqueVolumeName]blockedVolume{}}
		r.memory[node] = m
	}
	return m
}

func (r *reconciler) forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memory, node)
	r.log.Forget(controller.Key{Name: node})
}
