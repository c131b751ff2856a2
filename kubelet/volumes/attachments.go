package volumes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// attachPatience is how long a mount waits for its volume to be attached before it fails for now.
const attachPatience = 2 * time.Minute

// attachments are the volumes that pods of this node use, and their way onto it. The node's status says which are in use, so
// that none is detached meanwhile; it also says which are attached, by the controller that attaches.
type attachments struct {
	nodes corelisters.NodeLister
	// tell is called when what is in use changed.
	tell func()

	mu      sync.Mutex
	users   map[corev1.UniqueVolumeName]map[types.UID]bool
	changed chan struct{} // closed and replaced when a Node changed
}

func newAttachments(nodes corelisters.NodeLister, tell func()) *attachments {
	return &attachments{nodes: nodes, tell: tell, users: map[corev1.UniqueVolumeName]map[types.UID]bool{}, changed: make(chan struct{})}
}

// use notes that a pod uses a volume.
func (a *attachments) use(name corev1.UniqueVolumeName, uid types.UID) {
	if a.keep(name, uid) && a.tell != nil {
		a.tell()
	}
}

// keep is use without telling. It answers whether the volume was in no use before.
func (a *attachments) keep(name corev1.UniqueVolumeName, uid types.UID) (first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first = a.users[name] == nil
	if first {
		a.users[name] = map[types.UID]bool{}
	}
	a.users[name][uid] = true
	return first
}

// release notes that a pod uses no volume any more.
func (a *attachments) release(uid types.UID) {
	a.mu.Lock()
	freed := false
	for name, users := range a.users {
		if delete(users, uid); len(users) == 0 {
			delete(a.users, name)
			freed = true
		}
	}
	a.mu.Unlock()
	if freed && a.tell != nil {
		a.tell()
	}
}

// inUse lists the volumes in use, sorted.
func (a *attachments) inUse() []corev1.UniqueVolumeName {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.users))
}

// nodeChanged has those that wait look again.
func (a *attachments) nodeChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// await waits until the node says of a volume that it is in use and attached.
func (a *attachments) await(ctx context.Context, node string, name corev1.UniqueVolumeName) error {
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
		found, err := a.nodes.Get(node)
		if err == nil {
			err = mountable(&found.Status, name)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-changed:
		}
	}
}

// mountable says why a volume may not be mounted yet. One that isn't reported as in use could be detached any moment.
func mountable(status *corev1.NodeStatus, name corev1.UniqueVolumeName) error {
	if !slices.Contains(status.VolumesInUse, name) {
		return fmt.Errorf("volume %s has not been added to the list of VolumesInUse in the node's volume status", name)
	}
	if !slices.ContainsFunc(status.VolumesAttached, func(v corev1.AttachedVolume) bool { return v.Name == name }) {
		return fmt.Errorf("volume %s not attached according to node status", name)
	}
	return nil
}
