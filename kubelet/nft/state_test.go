package nft

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// word is a value that says nothing else.
type word string

func (w word) Data() Data { return Data{Target: string(w)} }

// TestChangesLeadToContent: whatever owners plan, in whatever order, applying each transaction to what the kernel had
// gives what is wanted; no transaction removes what isn't there, or adds what is.
func TestChangesLeadToContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, kernel := NewState[word](), map[ElementID]word{}
		s.Committed() // an empty table
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			for range rapid.IntRange(0, 4).Draw(t, "plans") {
				owner := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "owner")
				plan := rapid.SliceOfNDistinct(rapid.Custom(drawElement), 0, 5, func(e Element[word]) ElementID { return e.ID }).Draw(t, "plan")
				s.Put(owner, plan)
			}
			if err := applyTo(kernel, s.Changes()); err != nil {
				t.Fatal(err)
			}
			s.Committed()
			wanted := map[ElementID]word{}
			for _, e := range s.Content() {
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

func drawElement(t *rapid.T) Element[word] {
	return Element[word]{
		ID:    ElementID{Family: IPv4, Map: "m", Key: rapid.SampledFrom([]string{"k", "l", "m", "n", "o", "p"}).Draw(t, "key")},
		Value: word(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "target")),
	}
}

func applyTo(kernel map[ElementID]word, c Changes[word]) error {
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
