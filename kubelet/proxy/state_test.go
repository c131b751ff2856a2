package proxy

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// TestChangesLeadToContent: whatever owners plan, in whatever order, applying each transaction to what the kernel had
// gives what is wanted; no transaction removes what isn't there, or adds what is.
func TestChangesLeadToContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, kernel := newState(), map[ElementID]Value{}
		s.committed() // an empty table
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			for range rapid.IntRange(0, 4).Draw(t, "plans") {
				owner := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "owner")
				plan := rapid.SliceOfNDistinct(rapid.Custom(drawElement), 0, 5, func(e Element) ElementID { return e.ID }).Draw(t, "plan")
				s.put(owner, plan)
			}
			if err := applyTo(kernel, s.changes()); err != nil {
				t.Fatal(err)
			}
			s.committed()
			wanted := map[ElementID]Value{}
			for _, e := range s.content() {
				wanted[e.ID] = e.Value
			}
			if !maps.Equal(kernel, wanted) {
				t.Fatalf("kernel has %v, wanted is %v", kernel, wanted)
			}
			for owner, plan := range s.plans {
				for _, e := range plan {
					if c := s.claims[e.ID]; c.owner > owner || (c.owner == owner && c.value != e.Value) {
						t.Fatalf("%v belongs to %s rather than %s", e, c.owner, owner)
					}
				}
			}
		}
	})
}

func drawElement(t *rapid.T) Element {
	return Element{
		ID:    ElementID{Family: IPv4, Map: Endpoints, Key: rapid.SampledFrom([]string{"k", "l", "m", "n", "o", "p"}).Draw(t, "key")},
		Value: Value{Target: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "target")},
	}
}

func applyTo(kernel map[ElementID]Value, c Changes) error {
	for _, e := range c.Removed {
		if kernel[e.ID] != e.Value {
			return fmt.Errorf("removes %v, which isn't there", e)
		}
		delete(kernel, e.ID)
	}
	for _, e := range c.Added {
		if old, there := kernel[e.ID]; there {
			return fmt.Errorf("adds %v where there is %v", e, old)
		}
		kernel[e.ID] = e.Value
	}
	return nil
}
