package policy

import (
	"slices"

	"skiff/kubelet/nft"
)

// chainID and setID are the places of a chain and a set in the tables.
type (
	chainID struct {
		family nft.Family
		name   string
	}
	setID struct {
		family nft.Family
		name   nft.SetName
	}
)

// use is an object that something leads to, and how much does.
type use[T any] struct {
	Object T
	count  int
}

// objects is the chains and sets in use, and how they differ from the kernel's.
type objects struct {
	chains map[chainID]*use[Chain]
	sets   map[setID]*use[Set]
	before struct { // of what changed since the last commit, whether the kernel has it
		chains map[chainID]*Chain
		sets   map[setID]bool
	}
}

func newObjects() *objects {
	o := &objects{chains: map[chainID]*use[Chain]{}, sets: map[setID]*use[Set]{}}
	o.committed()
	return o
}

func (o *objects) committed() {
	o.before.chains, o.before.sets = map[chainID]*Chain{}, map[setID]bool{}
}

// swap uses the chains, of which element i leads to the i-th, in place of those before, and answers them.
func (o *objects) swap(b *Book, before []chainID, chains []Chain, plan []Element) []chainID {
	var now []chainID
	for i, c := range chains {
		id := chainID{plan[i].ID.Family, c.Name}
		now = append(now, id)
		o.take(b, id, c)
	}
	o.drop(b, before)
	return now
}

func (o *objects) take(b *Book, id chainID, c Chain) {
	if u := o.chains[id]; u != nil {
		u.count++
		return
	}
	if _, known := o.before.chains[id]; !known {
		o.before.chains[id] = nil
	}
	o.chains[id] = &use[Chain]{Object: c, count: 1}
	for _, s := range c.Sets {
		at := setID{id.family, s.Name}
		if u := o.sets[at]; u != nil {
			u.count++
			continue
		}
		if _, known := o.before.sets[at]; !known {
			o.before.sets[at] = false
		}
		o.sets[at] = &use[Set]{Object: s, count: 1}
		b.populate(at, s)
	}
}

func (o *objects) drop(b *Book, ids []chainID) {
	for _, id := range ids {
		u := o.chains[id]
		if u.count--; u.count > 0 {
			continue
		}
		if _, known := o.before.chains[id]; !known {
			o.before.chains[id] = &u.Object
		}
		delete(o.chains, id)
		for _, s := range u.Object.Sets {
			at := setID{id.family, s.Name}
			set := o.sets[at]
			if set.count--; set.count > 0 {
				continue
			}
			if _, known := o.before.sets[at]; !known {
				o.before.sets[at] = true
			}
			delete(o.sets, at)
			b.clear(at, set.Object)
		}
	}
}

// Changes is one transaction on the tables.
type Changes struct {
	Elements nft.Changes[Value]
	// AddedChains, AddedSets: by family, what is new; RemovedChains, RemovedSets: what nothing leads to any more.
	AddedChains, RemovedChains map[nft.Family][]nft.Chain
	AddedSets                  map[nft.Family][]Set
	RemovedSets                map[nft.Family][]nft.SetName
}

// Empty reports whether there is nothing to do.
func (c Changes) Empty() bool {
	return c.Elements.Empty() && len(c.AddedChains) == 0 && len(c.RemovedChains) == 0 && len(c.AddedSets) == 0 && len(c.RemovedSets) == 0
}

func emptyChanges() Changes {
	return Changes{
		AddedChains: map[nft.Family][]nft.Chain{}, RemovedChains: map[nft.Family][]nft.Chain{},
		AddedSets: map[nft.Family][]Set{}, RemovedSets: map[nft.Family][]nft.SetName{},
	}
}

// Changes is the way from the kernel's content to the wanted one.
func (b *Book) Changes() Changes {
	out := emptyChanges()
	for id, before := range b.objects.before.chains {
		now := b.objects.chains[id]
		switch {
		case before == nil && now != nil:
			out.AddedChains[id.family] = append(out.AddedChains[id.family], now.Object.Chain)
		case before != nil && now == nil:
			out.RemovedChains[id.family] = append(out.RemovedChains[id.family], before.Chain)
		}
	}
	for id, before := range b.objects.before.sets {
		now := b.objects.sets[id]
		switch {
		case !before && now != nil:
			out.AddedSets[id.family] = append(out.AddedSets[id.family], now.Object)
		case before && now == nil:
			out.RemovedSets[id.family] = append(out.RemovedSets[id.family], id.name)
		}
	}
	out.Elements = b.elements.Changes()
	// What a set has goes with it.
	out.Elements.Removed = slices.DeleteFunc(out.Elements.Removed, func(e Element) bool {
		return slices.Contains(out.RemovedSets[e.ID.Family], e.ID.Map)
	})
	return out
}

// Content is everything wanted, as additions to tables that have only what is always there.
func (b *Book) Content() Changes {
	out := emptyChanges()
	for id, u := range b.objects.chains {
		out.AddedChains[id.family] = append(out.AddedChains[id.family], u.Object.Chain)
	}
	for id, u := range b.objects.sets {
		out.AddedSets[id.family] = append(out.AddedSets[id.family], u.Object)
	}
	out.Elements.Added = b.elements.Content()
	return out
}

// Committed says that the kernel has the wanted content now.
func (b *Book) Committed() {
	b.elements.Committed()
	b.objects.committed()
}
