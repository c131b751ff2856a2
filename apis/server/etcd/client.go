package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"k8s.io/apiserver/pkg/storage"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
)

const (
	dialTimeout       = 20 * time.Second
	keepaliveInterval = 30 * time.Second
	keepaliveTimeout  = 10 * time.Second
	maxMessageBytes   = 32 << 20
)

// inProcess wraps a client that calls the server's methods without gRPC.
// It has no endpoints for the storage layer to probe, so what the server can do
// is recorded here: without progress requests every consistent read would
// bypass the watch cache; range streams do not exist in this client.
func inProcess(ctx context.Context, s *etcdserver.EtcdServer) *kubernetes.Client {
	checker := etcdfeature.DefaultFeatureSupportChecker
	checker.CheckClient(ctx, embedded{}, storage.RequestWatchProgress)
	checker.MarkUnsupported(storage.RangeStream)
	c := v3client.New(s)
	_ = c.Watcher.Close() // it has none yet, and nothing to close
	c.Watcher = newWatcher(s)
	return wrap(c)
}

func wrap(c *clientv3.Client) *kubernetes.Client {
	kc := &kubernetes.Client{Client: c}
	kc.Kubernetes = kc
	return kc
}

// embedded answers the feature checker for the linked etcd version.
type embedded struct{}

func (embedded) Endpoints() []string { return []string{"in-process"} }

func (embedded) Status(context.Context, string) (*clientv3.StatusResponse, error) {
	return &clientv3.StatusResponse{Version: version.Version}, nil
}

// dial reaches an external cluster; the client reconnects by itself.
func dial(c Config) (*Etcd, error) {
	tlsConfig, err := clientTLS(c.TLS)
	if err != nil {
		return nil, fmt.Errorf("reading the etcd client certificate: %w", err)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            c.Servers,
		TLS:                  tlsConfig,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveInterval,
		DialKeepAliveTimeout: keepaliveTimeout,
		MaxCallRecvMsgSize:   maxMessageBytes,
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveInterval, Timeout: keepaliveTimeout,
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to etcd at %v: %w", c.Servers, err)
	}
	return &Etcd{Client: wrap(client), compactor: noCompactor{}}, nil
}

func clientTLS(t TLS) (*tls.Config, error) {
	info := transport.TLSInfo{TrustedCAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile}
	if info.Empty() && t.CAFile == "" {
		return nil, nil
	}
	return info.ClientConfig()
}
