// Package etcd owns the cluster's state: it runs etcd inside the process (or
// reaches an external cluster), and builds the storage of every API resource
// on it: protobuf or JSON values, one watch cache per resource, one compactor.
//
// The embedded member opens no listener. Its client calls the server's methods
// directly, so a write costs one raft commit and one fsync and nothing else.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/utils/clock"
)

const (
	compactionInterval = 5 * time.Minute
	quotaBytes         = 8 << 30
	snapshotCount      = 10000
	lockFile           = "skiff.lock"
	// One voter elects itself, so the election timeout is only a delay at start: one to five ticks (etcd skips
	// four). Each tick wakes three goroutines for as long as the server runs.
	tickMillis, electionMillis = 20, 100
)

// Config says where the state lives. Exactly one of Dir and Servers is used:
// Servers, when not empty, are the client URLs of an external cluster.
type Config struct {
	Dir     string
	Servers []string
	TLS     TLS
}

// TLS names the files that authenticate to an external cluster.
type TLS struct{ CAFile, CertFile, KeyFile string }

// Etcd is a running store and the one client everything shares.
type Etcd struct {
	Client *kubernetes.Client

	member    *embed.Etcd // nil for an external cluster
	lock      *os.File
	compactor compactor
	clock     paced // of all watch caches
	closeOnce sync.Once
	open      sync.RWMutex // held while the store is asked or closed
	closed    bool
	closeErr  error
}

type compactor interface {
	etcd3.Compactor
	Stop()
}

// Start returns when the store answers. The caller must Close it.
func Start(ctx context.Context, c Config) (*Etcd, error) {
	var e *Etcd
	var err error
	if len(c.Servers) > 0 {
		e, err = dial(c)
	} else {
		e, err = start(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	e.clock = newPaced()
	e.compactor = etcd3.NewCompactor(e.Client.Client, compactionInterval, clock.RealClock{}, nil)
	return e, nil
}

// start runs the embedded member.
func start(ctx context.Context, c Config) (*Etcd, error) {
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	member, err := embed.StartEtcd(memberConfig(c.Dir))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting etcd in %s: %w", c.Dir, err), lock.Close())
	}
	e := &Etcd{member: member, lock: lock, compactor: noCompactor{}}
	select {
	case <-member.Server.ReadyNotify():
	case err = <-member.Err():
	case <-member.Server.StopNotify():
		err = errors.New("the server stopped")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for etcd in %s: %w", c.Dir, err), e.Close())
	}
	e.Client = inProcess(ctx, member.Server)
	return e, nil
}

func memberConfig(dir string) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "member-data")
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ListenPeerUrls, cfg.ListenClientUrls = nil, nil
	cfg.TickMs, cfg.ElectionMs = tickMillis, electionMillis
	cfg.SnapshotCount = snapshotCount
	cfg.QuotaBackendBytes = quotaBytes
	return cfg
}

// lockDir keeps two servers off one data directory. bbolt would otherwise wait
// for the other one without a word.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the data directory: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by another server: stop it or choose another directory", dir), f.Close())
	}
	return f, nil
}

// Healthy asks for a linearizable read, which fails without a leader.
func (e *Etcd) Healthy(ctx context.Context) error {
	if _, err := e.Client.Client.Get(ctx, "health", clientv3.WithKeysOnly()); err != nil {
		return fmt.Errorf("reading from etcd: %w", err)
	}
	return nil
}

// Size is how many bytes the store takes on disk.
func (e *Etcd) Size(ctx context.Context) (int64, error) {
	e.open.RLock() // a member that is closed can't be asked
	defer e.open.RUnlock()
	if e.closed {
		return 0, errors.New("measuring etcd: it is closed")
	}
	c := e.Client.Client
	endpoint := "" // of the embedded member, which needs none
	if all := c.Endpoints(); len(all) > 0 {
		endpoint = all[0]
	}
	status, err := c.Status(ctx, endpoint)
	if err != nil {
		return 0, fmt.Errorf("measuring etcd: %w", err)
	}
	return status.DbSize, nil
}

// Close stops the compactor, the client and the embedded member, in this order.
func (e *Etcd) Close() error {
	e.closeOnce.Do(func() {
		e.open.Lock()
		defer e.open.Unlock()
		e.closed = true
		e.compactor.Stop()
		if e.Client != nil {
			// The in-process client has no connection to close; its error says so.
			if err := e.Client.Client.Close(); err != nil && !errors.Is(err, context.Canceled) {
				e.closeErr = fmt.Errorf("closing the etcd client: %w", err)
			}
		}
		if e.member != nil {
			e.member.Close()
		}
		if e.lock != nil {
			e.closeErr = errors.Join(e.closeErr, e.lock.Close())
		}
	})
	return e.closeErr
}

// noCompactor stands in until the real one runs.
type noCompactor struct{}

func (noCompactor) CompactRevision() int64 { return 0 }
func (noCompactor) Stop()                  {}
