package loopback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// bufferLimit bounds what a handler may be ahead of its reader. A full buffer
// blocks the handler, as a full socket buffer would.
const bufferLimit = 256 << 10

var errHandlerPanic = errors.New("in-process request: the handler panicked")

// response is an http.ResponseWriter whose body is read by body.
//
//	header phase --WriteHeader--> writing --Flush or limit--> started --finish--> done
//
// code and sent are written before started is closed and read only after.
type response struct {
	started chan struct{}
	once    sync.Once
	header  http.Header // the handler's alone

	mu   sync.Mutex
	cond sync.Cond
	sent http.Header
	code int
	buf  []byte
	err  error // io.EOF after a complete answer
}

var (
	_ http.Flusher       = (*response)(nil)
	_ http.CloseNotifier = (*response)(nil) //nolint:staticcheck // the apiserver's filters ask for it
)

func newResponse(ctx context.Context) *response {
	w := &response{header: http.Header{}, started: make(chan struct{})}
	w.cond.L = &w.mu
	context.AfterFunc(ctx, func() { w.abort(context.Cause(ctx)) })
	return w
}

// head is what the client gets of the answer's start, once there is one.
func (w *response) head() (int, http.Header, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.code == 0 {
		return 0, nil, w.err
	}
	return w.code, w.sent, nil
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter; later calls change nothing.
func (w *response) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(code)
}

func (w *response) writeHeader(code int) {
	if w.code == 0 {
		w.code, w.sent = code, w.header.Clone()
	}
}

// Write implements http.ResponseWriter. It blocks while the reader is more than
// bufferLimit behind, until the reader catches up or the request ends.
func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	for len(w.buf) > 0 && len(w.buf)+len(p) > bufferLimit && w.err == nil {
		w.start()
		w.cond.Wait()
	}
	if w.err != nil {
		return 0, w.err
	}
	w.buf = append(w.buf, p...)
	w.cond.Broadcast()
	return len(p), nil
}

// Flush implements http.Flusher: the client sees the headers from here on.
func (w *response) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	w.start()
}

// CloseNotify implements http.CloseNotifier. The channel never fires: the
// request's context does.
func (w *response) CloseNotify() <-chan bool { return make(chan bool) }

func (w *response) start() { w.once.Do(func() { close(w.started) }) }

// finish ends the body when the handler has returned.
func (w *response) finish(err error) {
	w.mu.Lock()
	if w.err == nil && errors.Is(err, io.EOF) {
		w.writeHeader(http.StatusOK)
	}
	w.mu.Unlock()
	w.abort(err)
	w.start()
}

// abort ends the body with err, unless it has ended already. It leaves the
// header alone, which the handler may be writing.
func (w *response) abort(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.cond.Broadcast()
}

// body is the client's end of a response.
type body struct {
	w      *response
	cancel context.CancelFunc
}

// Read implements io.Reader. What was written before the end is read first,
// unless the request was cancelled.
func (b body) Read(p []byte) (int, error) {
	w := b.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		w.cond.Wait()
	}
	n := copy(p, w.buf)
	if w.buf = w.buf[n:]; len(w.buf) == 0 {
		w.buf = nil
	}
	w.cond.Broadcast()
	return n, nil
}

// Close implements io.Closer: the handler's context ends.
func (b body) Close() error {
	b.cancel()
	return nil
}
