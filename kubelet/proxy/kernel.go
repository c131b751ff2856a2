package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernel applies tables to nf_tables. It belongs to one goroutine.
type kernel struct {
	table    string
	families []Family
	chains   map[Family]map[string]bool // chains and sets of clients that were added
	rules    map[Family]int             // how many rules the table has
	handles  map[Family]uint64          // which table it is: one made anew by somebody else has another handle
	seen     uint32                     // generation of the ruleset when it was last known to be intact
}

func newKernel(table string, families []Family) *kernel {
	return &kernel{table: table, families: families}
}

// fixed is the content that doesn't depend on Services.
type fixed struct {
	prefixes map[MapName][]netip.Prefix
	elements []Element
}

// replace makes the tables anew with the given content, in one transaction.
func (k *kernel) replace(static fixed, content []Element) error {
	k.chains, k.rules, k.handles = map[Family]map[string]bool{}, map[Family]int{}, map[Family]uint64{}
	var b batch
	for _, f := range k.families {
		k.chains[f] = map[string]bool{}
		b.table(unix.NFT_MSG_NEWTABLE, f, k.table) // deleting needs one to be there
		b.table(unix.NFT_MSG_DELTABLE, f, k.table)
		b.table(unix.NFT_MSG_NEWTABLE, f, k.table)
		for i, l := range layouts() {
			b.set(f, k.table, uint32(i+1), l)
		}
		for _, c := range baseChains() {
			b.chain(f, k.table, c)
		}
		for _, c := range baseChains() {
			b.rules(f, k.table, c)
			k.rules[f] += len(c.Rules)
		}
		for name, prefixes := range static.prefixes {
			b.prefixes(f, k.table, name, prefixes)
		}
	}
	b.elements(unix.NFT_MSG_NEWSETELEM, k.table, static.elements)
	k.chainsFor(&b, content)
	b.elements(unix.NFT_MSG_NEWSETELEM, k.table, content)
	if err := b.commit(); err != nil {
		return fmt.Errorf("replacing nftables table %s: %w", k.table, err)
	}
	return k.remember()
}

// update applies changes to the tables' content, in one transaction.
func (k *kernel) update(c Changes) error {
	var b batch
	k.chainsFor(&b, c.Added)
	b.elements(unix.NFT_MSG_DELSETELEM, k.table, c.Removed)
	b.elements(unix.NFT_MSG_NEWSETELEM, k.table, c.Added)
	if err := b.commit(); err != nil {
		return fmt.Errorf("updating nftables table %s: %w", k.table, err)
	}
	return nil
}

// chainsFor adds the chains that the elements' verdicts lead to, and the sets of clients that those use. They stay: there
// are few, and Services come back to them.
func (k *kernel) chainsFor(b *batch, elements []Element) {
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
			if set := clientsLayout(slot); !k.chains[f][set.name.String()] {
				k.chains[f][set.name.String()] = true
				b.set(f, k.table, uint32(len(layouts()))+uint32(slot)+1, set)
			}
		}
		b.chain(f, k.table, chain)
		b.rules(f, k.table, chain)
		k.chains[f][name] = true
		k.rules[f] += len(chain.Rules)
	}
}

// remember takes note of which tables are ours.
func (k *kernel) remember() error {
	for _, f := range k.families {
		handle, err := tableHandle(f, k.table)
		if err != nil {
			return err
		}
		k.handles[f] = handle
	}
	return nil
}

// intact reports whether the tables are the ones made here, with all their rules. It costs one small request unless
// some program changed the ruleset since the last call.
func (k *kernel) intact() (bool, error) {
	generation, err := rulesetGeneration()
	if err != nil {
		return false, err
	}
	if generation == k.seen {
		return true, nil
	}
	for _, f := range k.families {
		handle, err := tableHandle(f, k.table)
		if err != nil || handle == 0 || handle != k.handles[f] {
			return false, err
		}
		if rules, err := countRules(f, k.table); err != nil || rules != k.rules[f] {
			return false, err
		}
	}
	k.seen = generation
	return true, nil
}

// tableHandleAttr is NFTA_TABLE_HANDLE of linux/netfilter/nf_tables.h.
const tableHandleAttr = 4

// tableHandle is the kernel's number of the table; 0 if there is none.
func tableHandle(f Family, table string) (uint64, error) {
	replies, err := query(unix.NFT_MSG_GETTABLE, f.nf(), 0, attrs(nil).text(unix.NFTA_TABLE_NAME, table))
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking up nftables table %s: %w", table, err)
	}
	for _, m := range replies {
		if ad, err := decode(m); err == nil {
			for ad.Next() {
				if ad.Type() == tableHandleAttr {
					return ad.Uint64(), nil
				}
			}
		}
	}
	return 0, nil
}

func countRules(f Family, table string) (int, error) {
	replies, err := query(unix.NFT_MSG_GETRULE, f.nf(), netlink.Dump, attrs(nil).text(unix.NFTA_RULE_TABLE, table))
	if err != nil {
		return 0, fmt.Errorf("listing rules of nftables table %s: %w", table, err)
	}
	return len(replies), nil
}

// Cleanup removes the tables of the given name. It needs no running proxy and is content if there is none.
func Cleanup(table string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("listing nftables tables: %w", err)
	}
	var b batch
	for _, t := range tables {
		for _, f := range []Family{IPv4, IPv6} {
			if t.Name == table && uint8(t.Family) == f.nf() {
				b.table(unix.NFT_MSG_DELTABLE, f, table)
			}
		}
	}
	if len(b.messages) == 0 {
		return nil
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("removing nftables table %s: %w", table, err)
	}
	return nil
}

// validName reports whether nf_tables takes the name for a table.
func validName(name string) bool {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || slices.Contains([]rune{'/', '"', '\\'}, r) }
	return name != "" && len(name) < unix.NFT_NAME_MAXLEN && !strings.ContainsFunc(name, bad)
}
