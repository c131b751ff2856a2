package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OwnerState is how an owner stands.
type OwnerState int

// The states of an owner.
const (
	// Solid: it exists.
	Solid OwnerState = iota
	// Absent: it does not exist (any more).
	Absent
	// Waiting: it is terminating and waits for its dependents to go.
	Waiting
)

// Verdict is what happens to an object.
type Verdict struct {
	// Keep the object, without its references to Unref.
	Keep  bool
	Unref []types.UID
	// Unblock says that the object must stop blocking its owners before it is deleted: it is part of a circle.
	Unblock bool
	// Policy is how it is deleted.
	Policy metav1.DeletionPropagation
}

// Judge decides over an object from the states of its owners: one solid owner keeps it, and references to others go;
// without any it is deleted, in the way that its own finalizers and its waiting owners ask for.
func Judge(o metav1.Object, states map[types.UID]OwnerState, dependents []Node) Verdict {
	var solid, absent, waiting []types.UID
	for _, ref := range o.GetOwnerReferences() {
		switch states[ref.UID] {
		case Solid:
			solid = append(solid, ref.UID)
		case Absent:
			absent = append(absent, ref.UID)
		case Waiting:
			waiting = append(waiting, ref.UID)
		}
	}
	gone := append(absent, waiting...)
	switch {
	case len(o.GetOwnerReferences()) == 0, len(solid) > 0:
		return Verdict{Keep: true, Unref: gone}
	case len(waiting) > 0 && len(dependents) > 0:
		circle := slices.ContainsFunc(dependents, func(d Node) bool { return d.Foreground })
		return Verdict{Unblock: circle, Policy: metav1.DeletePropagationForeground}
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return Verdict{Policy: metav1.DeletePropagationOrphan}
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents):
		return Verdict{Policy: metav1.DeletePropagationForeground}
	}
	return Verdict{Policy: metav1.DeletePropagationBackground}
}

// Without answers the references to other owners than uids.
func Without(refs []metav1.OwnerReference, uids ...types.UID) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(refs), func(r metav1.OwnerReference) bool { return slices.Contains(uids, r.UID) })
}

// Unblocked answers the references with none that blocks its owner.
func Unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	refs = slices.Clone(refs)
	for i := range refs {
		if blocks(refs[i]) {
			no := false
			refs[i].BlockOwnerDeletion = &no
		}
	}
	return refs
}
