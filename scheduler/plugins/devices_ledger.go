package plugins

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"sync"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/structured"
)

// claimLedger knows the resource claims and which devices they have. It runs ahead of the informer: what the API answered
// to a write of the scheduler is known here at once ("assumed"), and what was decided and not yet written ("pending") is
// not given away again.
//
//	          reserve            settle               observe
//	unallocated ---> pending -------------> assumed ----------> known
//	     ^              | release, restore     | restore
//	     '--------------'----------------------'
type claimLedger struct {
	// tell is called with every change of a claim, in order, without the lock.
	tell func(before, after *resourcev1.ResourceClaim)
	// changed wakes those that wait for a claim to change.
	changed *signal

	mu      sync.Mutex
	claims  map[types.NamespacedName]knownClaim
	pending map[types.UID]*resourcev1.ResourceClaim
	taken   structured.AllocatedState
	// untold are the changes nobody was told of yet; telling says that somebody is at it.
	untold  [][2]*resourcev1.ResourceClaim
	telling bool
}

// knownClaim has the newest version of a claim, and the newest that the informer brought.
type knownClaim struct{ latest, observed *resourcev1.ResourceClaim }

func newClaimLedger() *claimLedger {
	return &claimLedger{
		tell:    func(_, _ *resourcev1.ResourceClaim) {},
		changed: newSignal(),
		claims:  map[types.NamespacedName]knownClaim{},
		pending: map[types.UID]*resourcev1.ResourceClaim{},
		taken:   newAllocatedState(),
	}
}

func newAllocatedState() structured.AllocatedState {
	return structured.AllocatedState{
		AllocatedDevices:         sets.New[structured.DeviceID](),
		AllocatedSharedDeviceIDs: sets.New[structured.SharedDeviceID](),
		AggregatedCapacity:       structured.NewConsumedCapacityCollection(),
	}
}

func nameOf(claim *resourcev1.ResourceClaim) types.NamespacedName {
	return types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
}

// observe takes what the informer brings. A version older than an assumed one changes nothing.
func (l *claimLedger) observe(before, after *resourcev1.ResourceClaim) {
	l.mu.Lock()
	if after == nil {
		name := nameOf(before)
		l.replace(name, knownClaim{})
	} else if known := l.claims[nameOf(after)]; known.latest == nil || lead(after, known.latest) > 0 {
		l.replace(nameOf(after), knownClaim{latest: after, observed: after})
	}
	l.unlockAndTell()
}

// lead answers how far the first resource version is ahead of the second; 1 when one of them is no number, as in tests.
func lead(a, b *resourcev1.ResourceClaim) int {
	x, errX := strconv.ParseInt(a.ResourceVersion, 10, 64)
	y, errY := strconv.ParseInt(b.ResourceVersion, 10, 64)
	if errX != nil || errY != nil {
		return 1
	}
	return cmp.Compare(x, y)
}

// settle assumes what the API answered to a write, and ends that the allocation is pending under uid. It reports false
// when the claim isn't known, because the informer is behind or the claim is gone.
func (l *claimLedger) settle(uid types.UID, claim *resourcev1.ResourceClaim) bool {
	l.mu.Lock()
	defer l.unlockAndTell()
	known, ok := l.claims[nameOf(claim)]
	if !ok {
		return false
	}
	if known.latest.UID == claim.UID && lead(claim, known.latest) >= 0 {
		l.replace(nameOf(claim), knownClaim{latest: claim, observed: known.observed})
	}
	if claim.Status.Allocation != nil {
		delete(l.pending, uid)
	}
	return true
}

// restore forgets what was assumed of a claim.
func (l *claimLedger) restore(claim *resourcev1.ResourceClaim) {
	l.mu.Lock()
	defer l.unlockAndTell()
	if known, ok := l.claims[nameOf(claim)]; ok && known.latest != known.observed {
		l.replace(nameOf(claim), knownClaim{latest: known.observed, observed: known.observed})
	}
}

// get answers the newest version known.
func (l *claimLedger) get(namespace, name string) (*resourcev1.ResourceClaim, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.claims[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
		return known.latest, nil
	}
	return nil, fmt.Errorf("could not find ResourceClaim %q", namespace+"/"+name)
}

// find answers a claim of the namespace that is wanted, nil when there is none.
func (l *claimLedger) find(namespace string, wanted func(*resourcev1.ResourceClaim) bool) *resourcev1.ResourceClaim {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, known := range l.claims {
		if name.Namespace == namespace && wanted(known.latest) {
			return known.latest
		}
	}
	return nil
}

// reserve notes that an allocation was decided on, until settle or release. A claim that got one meanwhile stays as it is;
// the write will find out.
func (l *claimLedger) reserve(uid types.UID, allocated *resourcev1.ResourceClaim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.claims[nameOf(allocated)].latest; known == nil || known.UID != uid || known.Status.Allocation == nil {
		l.pending[uid] = allocated
	}
}

// release ends that an allocation is pending, and reports whether it was.
func (l *claimLedger) release(uid types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.pending[uid]
	delete(l.pending, uid)
	return ok
}

// isPending reports whether an allocation of the claim was decided on and isn't written yet.
func (l *claimLedger) isPending(uid types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending[uid] != nil
}

// allocated answers the devices that are given away, pending ones included. It is the caller's own.
func (l *claimLedger) allocated() structured.AllocatedState {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := structured.AllocatedState{
		AllocatedDevices:         maps.Clone(l.taken.AllocatedDevices),
		AllocatedSharedDeviceIDs: maps.Clone(l.taken.AllocatedSharedDeviceIDs),
		AggregatedCapacity:       l.taken.AggregatedCapacity.Clone(),
	}
	for uid, claim := range l.pending {
		if known := l.claims[nameOf(claim)].latest; known == nil || known.UID != uid || known.Status.Allocation == nil {
			take(state, claim) // Otherwise the informer was faster than the answer to the write, and it is counted above.
		}
	}
	return state
}

// replace puts another version of a claim; nothing means that it is gone. The lock is held.
func (l *claimLedger) replace(name types.NamespacedName, next knownClaim) {
	before := l.claims[name].latest
	if next.latest == nil {
		delete(l.claims, name)
	} else {
		l.claims[name] = next
	}
	if before == nil && next.latest == nil {
		return
	}
	give(l.taken, before)
	take(l.taken, next.latest)
	l.untold = append(l.untold, [2]*resourcev1.ResourceClaim{before, next.latest})
}

// unlockAndTell tells of the changes in their order. If somebody tells already, that one goes on with these.
func (l *claimLedger) unlockAndTell() {
	if l.telling {
		l.mu.Unlock()
		return
	}
	l.telling = true
	for len(l.untold) > 0 {
		change := l.untold[0]
		l.untold = l.untold[1:]
		l.mu.Unlock()
		l.changed.fire()
		l.tell(change[0], change[1])
		l.mu.Lock()
	}
	l.untold, l.telling = nil, false
	l.mu.Unlock()
}

// take counts the devices of a claim's allocation. Access by administrators takes nothing away from others (KEP-5018).
func take(state structured.AllocatedState, claim *resourcev1.ResourceClaim) {
	eachDevice(claim, func(id structured.DeviceID) { state.AllocatedDevices.Insert(id) },
		func(id structured.SharedDeviceID) { state.AllocatedSharedDeviceIDs.Insert(id) },
		func(c structured.DeviceConsumedCapacity) { state.AggregatedCapacity.Insert(c) })
}

// give no longer counts them.
func give(state structured.AllocatedState, claim *resourcev1.ResourceClaim) {
	eachDevice(claim, func(id structured.DeviceID) { state.AllocatedDevices.Delete(id) },
		func(id structured.SharedDeviceID) { state.AllocatedSharedDeviceIDs.Delete(id) },
		func(c structured.DeviceConsumedCapacity) { state.AggregatedCapacity.Remove(c) })
}

func eachDevice(claim *resourcev1.ResourceClaim, whole func(structured.DeviceID), share func(structured.SharedDeviceID), consumed func(structured.DeviceConsumedCapacity)) {
	if claim == nil || claim.Status.Allocation == nil {
		return
	}
	for i := range claim.Status.Allocation.Devices.Results {
		r := &claim.Status.Allocation.Devices.Results[i]
		if r.AdminAccess != nil && *r.AdminAccess {
			continue
		}
		id := structured.MakeDeviceID(r.Driver, r.Pool, r.Device)
		if r.ShareID == nil {
			whole(id)
			continue
		}
		share(structured.MakeSharedDeviceID(id, r.ShareID))
		if r.ConsumedCapacity != nil {
			consumed(structured.NewDeviceConsumedCapacity(id, r.ConsumedCapacity))
		}
	}
}
