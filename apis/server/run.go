package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

const (
	// readyPoll is how often a starting server asks itself whether it is ready.
	readyPoll = 10 * time.Millisecond
	// informLimit is how long the hooks may be kept waiting.
	informLimit = time.Second
)

// Run serves until ctx ends, then lets running requests finish for a second.
// Clients of the loopback transport should have stopped by then.
func (s *Server) Run(ctx context.Context) error {
	s.aggregator.GenericAPIServer.ShutdownTimeout = shutdownTimeout
	watched := make(chan struct{})
	// Requests that still run need to know who they are from.
	s.runAccess(wait.ContextForChannel(s.drained))
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		<-watched
		close(s.drained)
		s.background.Wait()
	}()
	go func() {
		defer close(watched)
		s.watchReady(ctx)
	}()
	informing, end := context.WithCancel(context.WithoutCancel(ctx)) // requests that still run need them
	defer end()
	s.inform(ctx, informing.Done())
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("running the API server: %w", err)
	}
	return nil
}

// inform starts the informers that the hooks would start, and waits a little
// for those that hooks of the aggregator and of the custom resource server wait
// for: they look at once and then every 100 ms.
func (s *Server) inform(ctx context.Context, end <-chan struct{}) {
	crds, services := s.custom.Informers, s.aggregator.APIRegistrationInformers
	crds.Start(end)
	services.Start(end)
	s.config.Informers.Start(end)
	ctx, cancel := context.WithTimeout(ctx, informLimit)
	defer cancel()
	cache.WaitFor(ctx, "",
		crds.Apiextensions().V1().CustomResourceDefinitions().Informer().HasSyncedChecker(),
		services.Apiregistration().V1().APIServices().Informer().HasSyncedChecker(),
	)
}

// watchReady closes ready once /readyz says ok. Only an ended ctx ends it earlier.
func (s *Server) watchReady(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		if !s.isReady(ctx) {
			return false, nil
		}
		close(s.ready)
		return true, nil
	})
}

// isReady asks /readyz behind the handler chain: no authentication, no limits.
func (s *Server) isReady(ctx context.Context) bool {
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody)
	w := httptest.NewRecorder()
	s.aggregator.GenericAPIServer.Handler.Director.ServeHTTP(w, req)
	return w.Code == http.StatusOK
}
