package nfttest

import (
	"github.com/google/nftables"

	"skiff/kubelet/nft"
)

// Damages is what other programs may do to the IPv4 table of the name, by what it is.
func Damages(table string) map[string]func() error {
	change := func(changes ...func(*nftables.Conn, *nftables.Table)) func() error {
		return func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			for _, c := range changes {
				c(conn, &nftables.Table{Family: nftables.TableFamilyIPv4, Name: table})
			}
			return conn.Flush()
		}
	}
	return map[string]func() error{
		"removed":                func() error { return nft.Cleanup(table) },
		"removed and made empty": change((*nftables.Conn).DelTable, addTable),
		"rules flushed":          change((*nftables.Conn).FlushTable),
	}
}

func addTable(conn *nftables.Conn, table *nftables.Table) { conn.AddTable(table) }

// AddTable makes an empty IPv4 table, as another program's.
func AddTable(name string) error {
	b := nft.Batch{Table: name}
	b.ResetTable(nft.IPv4)
	return b.Commit()
}
