package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// readyPoll is how often a starting server asks itself whether it is ready.
const readyPoll = 10 * time.Millisecond

// Run serves until ctx ends, then lets running requests finish for a second.
// Clients of the loopback transport should have stopped by then.
func (s *Server) Run(ctx context.Context) error {
	s.aggregator.GenericAPIServer.ShutdownTimeout = shutdownTimeout
	watched := make(chan struct{})
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
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("running the API server: %w", err)
	}
	return nil
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
