package authn

import (
	"bytes"
	"context"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/klog/v2"
)

const (
	// lookEvery is how often the file is read when nobody tells of its changes.
	lookEvery = time.Minute
	// patience is how long new issuers may take to answer.
	patience = time.Minute
)

// follower exchanges the issuers when the configuration file changes. Who may be
// anonymous is decided at the start and must stay in the file.
type follower struct {
	path      string
	anonymous *apiserver.AnonymousAuthConfig
	seen      []byte // what needs no second look
	issuers   *issuers
}

func newFollower(path string, first *apiserver.AuthenticationConfiguration, data []byte, i *issuers) *follower {
	return &follower{path: path, anonymous: first.DeepCopy().Anonymous, seen: data, issuers: i}
}

func (f *follower) run(ctx context.Context, server string) {
	log := klog.FromContext(ctx).WithValues("file", f.path)
	metrics.RegisterMetrics()
	metrics.RecordAuthenticationConfigLastConfigInfo(server, string(f.seen))
	look := func() {
		changed, err := f.look(ctx, server)
		switch {
		case err != nil && ctx.Err() == nil:
			log.Error(err, "Reading the authentication configuration")
			metrics.RecordAuthenticationConfigAutomaticReloadFailure(server)
		case changed:
			log.Info("Read the authentication configuration anew")
			metrics.RecordAuthenticationConfigAutomaticReloadSuccess(server, string(f.seen))
		}
	}
	filesystem.WatchUntil(ctx, lookEvery, f.path, look, func(err error) { log.Error(err, "Watching the authentication configuration") })
}

// look reads the file; a content that can never be right is looked at once.
func (f *follower) look(ctx context.Context, server string) (changed bool, err error) {
	data, err := os.ReadFile(f.path)
	if err != nil || bytes.Equal(data, f.seen) {
		return false, err
	}
	c, err := decode(data)
	if err == nil {
		err = validate(c, f.issuers.own)
	}
	if err == nil && !equality.Semantic.DeepEqual(f.anonymous, c.Anonymous) {
		err = field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file")
	}
	if err != nil {
		f.seen = data
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := f.issuers.replace(ctx, waiting, c, server); err != nil {
		return false, err
	}
	f.seen = data
	return true, nil
}
