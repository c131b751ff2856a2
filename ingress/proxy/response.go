package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"time"
)

// response is the answer to a client. It knows what became of it.
type response struct {
	http.ResponseWriter

	control *http.ResponseController
	proxy   *Proxy
	streams bool // HTTP/2: deadlines are the stream's
	from    time.Time
	began   time.Duration // until the answer began
	renewed time.Time     // when the deadline was set
	status  int
	bytes   int64
}

func newResponse(w http.ResponseWriter, r *http.Request, p *Proxy) *response {
	return &response{ResponseWriter: w, control: http.NewResponseController(w), proxy: p, streams: r.ProtoMajor == 2, from: p.clock.Now()}
}

// Unwrap lets http.ResponseController find what w can't do.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status; one below 200 is no answer yet.
func (w *response) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begins(status)
	}
	w.renew()
	w.ResponseWriter.WriteHeader(status)
}

// Write writes on, as long as the client reads on.
func (w *response) Write(data []byte) (int, error) {
	w.begins(http.StatusOK)
	w.renew()
	n, err := w.ResponseWriter.Write(data)
	w.bytes += int64(n)
	return n, err //nolint:wrapcheck // its caller knows the writer's errors
}

// Hijack takes the connection over, for the protocol that both ends agreed on.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begins(http.StatusSwitchingProtocols)
	c, b, err := w.control.Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("switching protocols: %w", err)
	}
	return c, b, nil
}

func (w *response) begins(status int) {
	if w.status == 0 {
		w.status, w.began = status, w.proxy.clock.Since(w.from)
	}
}

// end notes what is left to say.
func (w *response) end() { w.begins(http.StatusOK) }

// renew gives a stream of HTTP/2 more time, now and then; a connection's is renewed by conn.
func (w *response) renew() {
	if !w.streams {
		return
	}
	if now, stall := w.proxy.clock.Now(), w.proxy.config.StallTimeout; now.Sub(w.renewed) > stall/8 {
		_ = w.control.SetWriteDeadline(now.Add(stall)) // what can't have one is a test's
		w.renewed = now
	}
}

// refuse answers with an error of the proxy's own.
func (w *response) refuse(status int, why string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%d %s: %s\n", status, http.StatusText(status), why)
}

// abandon notes that the client went away.
func (w *response) abandon() { w.begins(abandoned) }
