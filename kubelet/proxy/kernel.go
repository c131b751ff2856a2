package proxy

import (
	"fmt"
	"net/netip"

	"skiff/kubelet/nft"
)

// kernel applies tables to nf_tables. It belongs to one goroutine.
type kernel struct {
	*nft.Tables
	table  string
	chains map[nft.Family]map[string]bool // chains and sets of clients that were added
}

func newKernel(table string, families []nft.Family) *kernel {
	return &kernel{Tables: nft.NewTables(table, families), table: table}
}

// fixed is the content that doesn't depend on Services.
type fixed struct {
	prefixes map[nft.SetName][]netip.Prefix
	elements []Element
}

func (k *kernel) batch() *nft.Batch { return &nft.Batch{Table: k.table, Ranged: ranged} }

// replace makes the tables anew with the given content, in one transaction.
func (k *kernel) replace(static fixed, content []Element) error {
	k.chains = map[nft.Family]map[string]bool{}
	b, rules := k.batch(), map[nft.Family]int{}
	for _, f := range k.Families() {
		k.chains[f] = map[string]bool{}
		b.ResetTable(f)
		for _, l := range layouts() {
			b.AddSet(f, l)
		}
		for _, c := range baseChains() {
			b.AddChain(f, c)
		}
		for _, c := range baseChains() {
			b.AddRules(f, c)
			rules[f] += len(c.Rules)
		}
		for name, prefixes := range static.prefixes {
			b.Prefixes(f, name, prefixes)
		}
	}
	nft.AddElements(b, static.elements)
	for f, more := range k.chainsFor(b, content) {
		rules[f] += more
	}
	nft.AddElements(b, content)
	if err := b.Commit(); err != nil {
		return fmt.Errorf("replacing nftables table %s: %w", k.table, err)
	}
	return k.Made(rules)
}

// update applies changes to the tables' content, in one transaction.
func (k *kernel) update(c nft.Changes[Value]) error {
	b := k.batch()
	rules := k.chainsFor(b, c.Added)
	nft.DeleteElements(b, c.Removed)
	nft.AddElements(b, c.Added)
	if err := b.Commit(); err != nil {
		return fmt.Errorf("updating nftables table %s: %w", k.table, err)
	}
	for f, more := range rules {
		k.Grew(f, more)
	}
	return nil
}

// chainsFor adds the chains that the elements' verdicts lead to, and the sets of clients that those use, and counts their
// rules. They stay: there are few, and Services come back to them.
func (k *kernel) chainsFor(b *nft.Batch, elements []Element) map[nft.Family]int {
	rules := map[nft.Family]int{}
	for _, e := range elements {
		f, name := e.ID.Family, e.Value.Verdict.chainName()
		if name == "" || k.chains[f][name] {
			continue
		}
		chain, own := e.Value.Verdict.chain()
		if !own {
			continue
		}
		for slot := range e.Value.Verdict.slots() {
			if set := clientsLayout(slot); !k.chains[f][string(set.Name)] {
				k.chains[f][string(set.Name)] = true
				b.AddSet(f, set)
			}
		}
		b.AddChain(f, chain)
		b.AddRules(f, chain)
		k.chains[f][name] = true
		rules[f] += len(chain.Rules)
	}
	return rules
}

// Cleanup removes the tables of the given name. It needs no running proxy and is content if there is none.
func Cleanup(table string) error { return nft.Cleanup(table) }
