package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Tables knows which tables of the kernel are an owner's, and whether they are as it made them. It belongs to one
// goroutine.
type Tables struct {
	name     string
	families []Family
	rules    map[Family]int    // how many rules each table has
	handles  map[Family]uint64 // which table it is: one made anew by somebody else has another handle
	seen     uint32            // generation of the ruleset when it was last known to be intact
}

// NewTables is about the tables of the name, one for each family.
func NewTables(name string, families []Family) *Tables {
	return &Tables{name: name, families: families, rules: map[Family]int{}, handles: map[Family]uint64{}}
}

// Families are those of the tables.
func (t *Tables) Families() []Family { return t.families }

// Made takes note of tables that were just made anew, with so many rules each.
func (t *Tables) Made(rules map[Family]int) error {
	t.rules = rules
	for _, f := range t.families {
		handle, err := Handle(f, t.name)
		if err != nil {
			return err
		}
		t.handles[f] = handle
	}
	return nil
}

// Grew takes note that rules were added to a table; fewer than 0: removed.
func (t *Tables) Grew(f Family, rules int) { t.rules[f] += rules }

// Intact reports whether the tables are the ones that were Made, with all their rules. It costs one small request unless
// some program changed the ruleset since the last call.
func (t *Tables) Intact() (bool, error) {
	generation, err := Generation()
	if err != nil {
		return false, err
	}
	if generation == t.seen {
		return true, nil
	}
	for _, f := range t.families {
		handle, err := Handle(f, t.name)
		if err != nil || handle == 0 || handle != t.handles[f] {
			return false, err
		}
		if rules, err := countRules(f, t.name); err != nil || rules != t.rules[f] {
			return false, err
		}
	}
	t.seen = generation
	return true, nil
}

// tableHandleAttr is NFTA_TABLE_HANDLE of linux/netfilter/nf_tables.h.
const tableHandleAttr = 4

// Handle is the kernel's number of the table; 0 if there is none.
func Handle(f Family, table string) (uint64, error) {
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

// Cleanup removes the tables of the given name. It is content if there is none.
func Cleanup(table string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("listing nftables tables: %w", err)
	}
	b := Batch{Table: table}
	for _, t := range tables {
		for _, f := range []Family{IPv4, IPv6} {
			if t.Name == table && uint8(t.Family) == f.nf() {
				b.deleteTable(f)
			}
		}
	}
	if err := b.Commit(); err != nil {
		return fmt.Errorf("removing nftables table %s: %w", table, err)
	}
	return nil
}

// ValidName reports whether nf_tables takes the name for a table.
func ValidName(name string) bool {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || slices.Contains([]rune{'/', '"', '\\'}, r) }
	return name != "" && len(name) < unix.NFT_NAME_MAXLEN && !strings.ContainsFunc(name, bad)
}
