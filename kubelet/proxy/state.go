package proxy

import (
	"slices"
	"strings"
)

// state is the table's wanted content and how it differs from the kernel's.
//
// Every element has owners (a Service or a pod). Owners may agree on an element; where they differ, the first by name
// wins, and as that holds for each element, the winner's elements are consistent.
type state struct {
	plans   map[string][]Element // by owner
	claims  map[ElementID]claims
	touched map[ElementID]*Value // elements changed since the last commit, as the kernel has them; nil: it doesn't
	tracks  bool                 // the kernel has something: changes are to be remembered
}

type claim struct {
	owner string
	value Value
}

// claims is who wants an element, the first by name first. Nearly every element has one owner.
type claims struct {
	claim
	others []claim
}

func newState() *state {
	return &state{plans: map[string][]Element{}, claims: map[ElementID]claims{}, touched: map[ElementID]*Value{}}
}

// put replaces the owner's plan.
func (s *state) put(owner string, plan []Element) {
	before := s.plans[owner]
	if len(before) > 0 {
		wanted := make(map[ElementID]Value, len(plan))
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

func (s *state) drop(owner string, id ElementID) {
	c, ok := s.claims[id]
	if !ok {
		return
	}
	isOwner := func(c claim) bool { return c.owner == owner }
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
	s.claims[id] = claims{claim: c.others[0], others: c.others[1:]}
}

// claim adds the owner's claim. If the owner has one, put saw to it that it is the same.
func (s *state) claim(owner string, e Element) {
	c, ok := s.claims[e.ID]
	mine := claim{owner: owner, value: e.Value}
	switch {
	case !ok:
		s.touch(e.ID)
		s.claims[e.ID] = claims{claim: mine}
	case owner < c.owner:
		s.touch(e.ID)
		s.claims[e.ID] = claims{claim: mine, others: append([]claim{c.claim}, c.others...)}
	case owner > c.owner:
		at, there := slices.BinarySearchFunc(c.others, owner, func(c claim, owner string) int {
			return strings.Compare(c.owner, owner)
		})
		if !there {
			c.others = slices.Insert(slices.Clone(c.others), at, mine)
			s.claims[e.ID] = c
		}
	}
}

// touch remembers what the kernel has before the first change since the last commit.
func (s *state) touch(id ElementID) {
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

// value is what is wanted for the element; the zero Value if nothing is.
func (s *state) value(id ElementID) Value { return s.claims[id].value }

// Changes is one transaction on the content of the table: first Removed, then Added.
type Changes struct {
	Removed []Element
	Added   []Element
}

// Empty reports whether there is nothing to do.
func (c Changes) Empty() bool { return len(c.Removed) == 0 && len(c.Added) == 0 }

// changes is the way from the kernel's content to the wanted one.
func (s *state) changes() Changes {
	var out Changes
	for id, old := range s.touched {
		now, wanted := s.claims[id]
		if wanted && old != nil && now.value == *old {
			continue
		}
		if old != nil {
			out.Removed = append(out.Removed, Element{ID: id, Value: *old})
		}
		if wanted {
			out.Added = append(out.Added, Element{ID: id, Value: now.value})
		}
	}
	return out
}

// committed says that the kernel has the wanted content now.
func (s *state) committed() {
	clear(s.touched)
	s.tracks = true
}

// content lists everything wanted.
func (s *state) content() []Element {
	out := make([]Element, 0, len(s.claims))
	for id, c := range s.claims {
		out = append(out, Element{ID: id, Value: c.value})
	}
	return out
}
