package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errTooLong = errors.New("the body is too long")
	errStalled = errors.New("the body did not come in time")
)

// body is that of a client's request: it ends with an error when it is longer than its limit or doesn't progress.
type body struct {
	from    io.ReadCloser
	control *http.ResponseController
	conn    *conn // nil in tests without a Server
	proxy   *Proxy
	limited bool
	left    int64
	touched atomic.Bool // somebody read of it
	reading atomic.Bool

	mu  sync.Mutex
	err error
}

func newBody(w *response, r *http.Request, limit int64, p *Proxy) *body {
	return &body{from: r.Body, control: w.control, conn: connOf(r.Context()), proxy: p, limited: limit > 0, left: limit}
}

// Read gives the client Config.StallTimeout for more.
func (b *body) Read(buffer []byte) (int, error) {
	b.touched.Store(true)
	if b.limited && int64(len(buffer)) > b.left+1 {
		buffer = buffer[:b.left+1]
	}
	b.reading.Store(true)
	now := b.proxy.clock.Now()
	_ = b.control.SetReadDeadline(now.Add(b.proxy.config.StallTimeout)) // what can't have one is a test's
	b.conn.waits(now)
	n, err := b.from.Read(buffer)
	b.conn.waits(time.Time{})
	b.reading.Store(false)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{}) // that was for the body only; the connection watches for its end from now on
	}
	if b.limited {
		if b.left -= int64(n); b.left < 0 {
			return 0, b.failed(errTooLong)
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, b.failed(errStalled)
	case err != nil && !errors.Is(err, io.EOF):
		return n, b.failed(err)
	default:
		return n, err
	}
}

// Close does nothing: the body may be needed for another endpoint. release closes it.
func (b *body) Close() error { return nil }

// release ends a read that is still waiting for the client, as its request is answered.
func (b *body) release() {
	if b.reading.Load() {
		_ = b.control.SetReadDeadline(b.proxy.clock.Now())
	}
}

func (b *body) failed(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return b.err
}

// failure is why the body couldn't be read, if it couldn't.
func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

type connKey struct{}

// connOf is the connection that a request came by.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn) //nolint:errcheck // nil is fine
	return c
}
