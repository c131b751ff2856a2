package authz

import (
	"bytes"
	"context"
	"os"
	"reflect"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/server/options/authorizationconfig/metrics"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/klog/v2"
)

// lookEvery is how often the file is read when nobody tells of its changes.
const lookEvery = time.Minute

// follower exchanges the chain when the configuration file changes. Authorizers
// other than webhooks must stay in it.
type follower struct {
	path   string
	loaded *apiserver.AuthorizationConfiguration
	seen   []byte
	chain  *Chain
}

func newFollower(path string, c *apiserver.AuthorizationConfiguration, data []byte, z *Chain) *follower {
	return &follower{path, c, data, z}
}

func (f *follower) run(ctx context.Context, server string) {
	log := klog.FromContext(ctx).WithValues("file", f.path)
	metrics.RegisterMetrics()
	metrics.RecordAuthorizationConfigLastConfigInfo(server, string(f.seen))
	look := func() {
		changed, err := f.look()
		switch {
		case err != nil:
			log.Error(err, "Reading the authorization configuration")
			metrics.RecordAuthorizationConfigAutomaticReloadFailure(server)
		case changed:
			log.Info("Read the authorization configuration anew")
			metrics.RecordAuthorizationConfigAutomaticReloadSuccess(server, string(f.seen))
		}
	}
	filesystem.WatchUntil(ctx, lookEvery, f.path, look, func(err error) { log.Error(err, "Watching the authorization configuration") })
}

// look reads the file; the chain stays as it was when it can't be used.
func (f *follower) look() (changed bool, err error) {
	data, err := os.ReadFile(f.path)
	if err != nil || bytes.Equal(data, f.seen) {
		return false, err
	}
	f.seen = data
	c, err := decode(data, f.chain.compiler)
	if err == nil {
		err = missing(c, f.chain.initial)
	}
	if err != nil || reflect.DeepEqual(c, f.loaded) {
		return false, err
	}
	f.loaded = c
	if err := f.chain.set(c); err != nil {
		return false, err
	}
	return true, nil
}
