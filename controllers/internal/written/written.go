// Package written makes a controller read its own writes.
//
// After a write the controller notes what it wrote; before it next plans for the same key it asks whether the cache
// has caught up. If not, it simply returns: the event that brings the cache up to date is also the event that queues
// the key again, so nothing sleeps and nothing is counted.
package written

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"
)

// Repair is how long a key that waits for the cache may go without an event before it is looked at again.
const Repair = 500 * time.Millisecond

// Store is the part of an informer's store that tells how far it is.
type Store interface {
	// LastStoreSyncResourceVersion answers the latest version the store has seen.
	LastStoreSyncResourceVersion() string
	// GetByKey answers the object with that namespace/name.
	GetByKey(key string) (item any, exists bool, err error)
}

// Log remembers the writes that the cache may not have seen yet, by the key they were made for. The zero value is
// ready to use; it is safe for use by several goroutines.
type Log struct {
	mu      sync.Mutex
	pending map[types.NamespacedName]*writes
}

type writes struct {
	versions map[Store]string
	deleted  []deletion
}

type deletion struct {
	store Store
	key   string
	uid   types.UID
}

// Wrote notes that object, as the server answered it, was created or changed for key.
func (l *Log) Wrote(key types.NamespacedName, store Store, object metav1.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.of(key)
	version := object.GetResourceVersion()
	if newer, err := resourceversion.CompareResourceVersion(version, w.versions[store]); err != nil || newer > 0 {
		w.versions[store] = version
	}
}

// Deleted notes that object was deleted for key. The cache has seen it when the object is gone, replaced or terminating.
func (l *Log) Deleted(key types.NamespacedName, store Store, object metav1.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := cache.MetaObjectToName(object).String()
	w := l.of(key)
	w.deleted = append(w.deleted, deletion{store, name, object.GetUID()})
}

// Forget drops what is known of key, for when its object is gone.
func (l *Log) Forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, key)
}

// Seen answers whether the cache has seen every write made for key.
func (l *Log) Seen(key types.NamespacedName) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.pending[key]
	if !ok {
		return true
	}
	for store, version := range w.versions {
		if reached(store, version) {
			delete(w.versions, store)
		}
	}
	rest := w.deleted[:0]
	for _, d := range w.deleted {
		if !d.seen() {
			rest = append(rest, d)
		}
	}
	w.deleted = rest
	if len(w.versions) == 0 && len(w.deleted) == 0 {
		delete(l.pending, key)
		return true
	}
	return false
}

func (l *Log) of(key types.NamespacedName) *writes {
	if l.pending == nil {
		l.pending = map[types.NamespacedName]*writes{}
	}
	w, ok := l.pending[key]
	if !ok {
		w = &writes{versions: map[Store]string{}}
		l.pending[key] = w
	}
	return w
}

// reached treats versions that cannot be compared as reached: waiting for them could last for ever.
func reached(store Store, version string) bool {
	seen := store.LastStoreSyncResourceVersion()
	if seen == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(seen, version)
	return err != nil || order >= 0
}

func (d deletion) seen() bool {
	item, exists, err := d.store.GetByKey(d.key)
	if err != nil || !exists {
		return true
	}
	o, ok := item.(metav1.Object)
	return !ok || o.GetUID() != d.uid || o.GetDeletionTimestamp() != nil
}
