package nft

import (
	"slices"
	"strings"
)

// State is the tables' wanted content and how it differs from the kernel's.
//
// Every element has owners, named by strings. Owners may agree on an element; where they differ, the first by name
// wins, and as that holds for each element, the winner's elements are consistent.
type State[V Value] struct {
	plans   map[string][]Element[V] // by owner
	claims  map[ElementID]claims[V]
	touched map[ElementID]*V // elements changed since the last commit, as the kernel has them; nil: it doesn't
	tracks  bool             // the kernel has something: changes are to be remembered
}

type claim[V Value] struct {
	owner string
	value V
}

// claims is who wants an element, the first by name first. Nearly every element has one owner.
type claims[V Value] struct {
	claim[V]
	others []claim[V]
}

// NewState makes a state in which nothing is wanted, of a kernel that is to be filled.
func NewState[V Value]() *State[V] {
	return &State[V]{plans: map[string][]Element[V]{}, claims: map[ElementID]claims[V]{}, touched: map[ElementID]*V{}}
}

// Put replaces the owner's plan.
func (s *State[V]) Put(owner string, plan []Element[V]) {
	before := s.plans[owner]
	if len(before) > 0 {
		wanted := make(map[ElementID]V, len(plan))
		for _, e := range plan {
			wanted[e.ID] = e.Value
		}
		for _, e := range before {
			if value, ok := wanted[e.ID]; !ok || value != e.Value {
				s.drop(owner, e.ID)
			}
		}
	}
	for _, e := range plan {
		s.claim(owner, e)
	}
	if len(plan) == 0 {
		delete(s.plans, owner)
		return
	}
	s.plans[owner] = slices.Clip(plan)
}

func (s *State[V]) drop(owner string, id ElementID) {
	c, ok := s.claims[id]
	if !ok {
		return
	}
	isOwner := func(c claim[V]) bool { return c.owner == owner }
	if c.owner != owner {
		c.others = slices.DeleteFunc(slices.Clone(c.others), isOwner)
		s.claims[id] = c
		return
	}
	s.touch(id)
	if len(c.others) == 0 {
		delete(s.claims, id)
		return
	}
	s.claims[id] = claims[V]{claim: c.others[0], others: c.others[1:]}
}

// claim adds the owner's claim. If the owner has one, Put saw to it that it is the same.
func (s *State[V]) claim(owner string, e Element[V]) {
	c, ok := s.claims[e.ID]
	mine := claim[V]{owner: owner, value: e.Value}
	switch {
	case !ok:
		s.touch(e.ID)
		s.claims[e.ID] = claims[V]{claim: mine}
	case owner < c.owner:
		s.touch(e.ID)
		s.claims[e.ID] = claims[V]{claim: mine, others: append([]claim[V]{c.claim}, c.others...)}
	case owner > c.owner:
		at, there := slices.BinarySearchFunc(c.others, owner, func(c claim[V], owner string) int {
			return strings.Compare(c.owner, owner)
		})
		if !there {
			c.others = slices.Insert(slices.Clone(c.others), at, mine)
			s.claims[e.ID] = c
		}
	}
}

// touch remembers what the kernel has before the first change since the last commit.
func (s *State[V]) touch(id ElementID) {
	if !s.tracks {
		return
	}
	if _, known := s.touched[id]; known {
		return
	}
	if c, ok := s.claims[id]; ok {
		s.touched[id] = &c.value
	} else {
		s.touched[id] = nil
	}
}

// Value is what is wanted for the element; the zero value if nothing is.
func (s *State[V]) Value(id ElementID) V { return s.claims[id].value }

// Changes is one transaction on the content of the table: first Removed, then Added.
type Changes[V Value] struct {
	Removed []Element[V]
	Added   []Element[V]
}

// Empty reports whether there is nothing to do.
func (c Changes[V]) Empty() bool { return len(c.Removed) == 0 && len(c.Added) == 0 }

// Changes is the way from the kernel's content to the wanted one.
func (s *State[V]) Changes() Changes[V] {
	var out Changes[V]
	for id, old := range s.touched {
		now, wanted := s.claims[id]
		if wanted && old != nil && now.value == *old {
			continue
		}
		if old != nil {
			out.Removed = append(out.Removed, Element[V]{ID: id, Value: *old})
		}
		if wanted {
			out.Added = append(out.Added, Element[V]{ID: id, Value: now.value})
		}
	}
	return out
}

// Committed says that the kernel has the wanted content now.
func (s *State[V]) Committed() {
	clear(s.touched)
	s.tracks = true
}

// Content lists everything wanted.
func (s *State[V]) Content() []Element[V] {
	out := make([]Element[V], 0, len(s.claims))
	for id, c := range s.claims {
		out = append(out, Element[V]{ID: id, Value: c.value})
	}
	return out
}
