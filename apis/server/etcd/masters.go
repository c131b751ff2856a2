package etcd

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	mastersPrefix = prefix + "/masterleases/"
	// masterTTLSeconds is how long a server counts as alive after its last word.
	masterTTLSeconds = 15
)

// Announce records that a server at the address is alive, and answers the
// addresses of all that are. A server must repeat it well within 15 seconds.
func (e *Etcd) Announce(ctx context.Context, server netip.Addr) ([]netip.Addr, error) {
	lease, err := e.Client.Client.Grant(ctx, masterTTLSeconds)
	if err != nil {
		return nil, fmt.Errorf("announcing the server: %w", err)
	}
	if _, err := e.Client.Client.Put(ctx, mastersPrefix+server.String(), server.String(), clientv3.WithLease(lease.ID)); err != nil {
		return nil, fmt.Errorf("announcing the server: %w", err)
	}
	return e.Masters(ctx)
}

// Masters answers the addresses of the servers that are alive.
func (e *Etcd) Masters(ctx context.Context) ([]netip.Addr, error) {
	found, err := e.Client.Client.Get(ctx, mastersPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("listing the servers: %w", err)
	}
	var out []netip.Addr
	for _, kv := range found.Kvs {
		if a, err := netip.ParseAddr(strings.TrimPrefix(string(kv.Key), mastersPrefix)); err == nil {
			out = append(out, a)
		}
	}
	return out, nil
}

// Withdraw says that the server at the address has stopped.
func (e *Etcd) Withdraw(ctx context.Context, server netip.Addr) error {
	if _, err := e.Client.Client.Delete(ctx, mastersPrefix+server.String()); err != nil {
		return fmt.Errorf("withdrawing the server: %w", err)
	}
	return nil
}
