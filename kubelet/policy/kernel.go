package policy

import (
	"fmt"

	"skiff/kubelet/nft"
)

// kernel applies tables to nf_tables. It belongs to one goroutine.
type kernel struct {
	*nft.Tables
	table string
	link  string // the pods' bridge
}

func newKernel(table, link string, families []nft.Family) *kernel {
	return &kernel{Tables: nft.NewTables(table, families), table: table, link: link}
}

// replace makes the tables anew with the given content, in one transaction.
func (k *kernel) replace(content Changes) error {
	b, rules := &nft.Batch{Table: k.table, Ranged: ranged}, map[nft.Family]int{}
	for _, f := range k.Families() {
		b.ResetTable(f)
		for _, s := range baseSets() {
			b.AddSet(f, s)
		}
		b.Prefixes(f, LinkLocal, linkLocal())
		base := forward(f, k.link)
		b.AddChain(f, base)
		b.AddRules(f, base)
		rules[f] = len(base.Rules)
	}
	for f, grown := range apply(b, content) {
		rules[f] += grown
	}
	if err := b.Commit(); err != nil {
		return fmt.Errorf("replacing nftables table %s: %w", k.table, err)
	}
	return k.Made(rules)
}

// update applies changes to the tables' content, in one transaction.
func (k *kernel) update(c Changes) error {
	b := &nft.Batch{Table: k.table, Ranged: ranged}
	rules := apply(b, c)
	if err := b.Commit(); err != nil {
		return fmt.Errorf("updating nftables table %s: %w", k.table, err)
	}
	for f, grown := range rules {
		k.Grew(f, grown)
	}
	return nil
}

// apply writes the changes in an order in which everything that is led to is there, and answers by how many rules each
// table grows.
func apply(b *nft.Batch, c Changes) map[nft.Family]int {
	rules := map[nft.Family]int{}
	nft.DeleteElements(b, c.Elements.Removed)
	for f, sets := range c.AddedSets {
		for _, s := range sets {
			b.AddSet(f, s.Set)
			b.Prefixes(f, s.Name, s.Prefixes)
			nft.AddElements(b, s.Elements)
		}
	}
	for f, chains := range c.AddedChains {
		for _, chain := range chains {
			b.AddChain(f, chain)
			b.AddRules(f, chain)
			rules[f] += len(chain.Rules)
		}
	}
	nft.AddElements(b, c.Elements.Added)
	for f, chains := range c.RemovedChains {
		for _, chain := range chains {
			b.DeleteChain(f, chain.Name)
			rules[f] -= len(chain.Rules)
		}
	}
	for f, sets := range c.RemovedSets {
		for _, name := range sets {
			b.DeleteSet(f, name)
		}
	}
	return rules
}

// Cleanup removes the tables of the given name. It is content if there is none.
func Cleanup(table string) error { return nft.Cleanup(table) }
