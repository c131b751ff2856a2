package proxy

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// slow is how long a client that sends or reads a body must have made no progress for its connection to be ended in favour
// of another, where all connections are busy.
const slow = time.Second

// conn is a connection of a client. Each write has a time that it may take.
type conn struct {
	net.Conn

	room    *room
	element *list.Element // of room.waiting or nil; under room.mu
	since   atomic.Int64  // when it began to wait for its client's body, in nanoseconds; 0 if it doesn't
	writing atomic.Int64  // when a write began that hasn't ended; 0 if none is under way
	once    sync.Once
}

// Write ends with an error when the client reads nothing for the stall timeout.
func (c *conn) Write(data []byte) (int, error) {
	now := c.room.proxy.clock.Now()
	if err := c.SetWriteDeadline(now.Add(c.room.proxy.config.StallTimeout)); err != nil {
		return 0, err //nolint:wrapcheck // this is a net.Conn
	}
	c.writing.Store(now.UnixNano())
	defer c.writing.Store(0)
	return c.Conn.Write(data) //nolint:wrapcheck // this is a net.Conn
}

// CloseWrite ends the stream to the client.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // this is a net.Conn
	}
	return nil
}

// Close gives its place to another.
func (c *conn) Close() error {
	c.once.Do(func() { c.room.leave(c) })
	return c.Conn.Close() //nolint:wrapcheck // this is a net.Conn
}

// waits notes since when the body of a request is waited for; the zero time ends it.
func (c *conn) waits(since time.Time) {
	switch {
	case c == nil:
	case since.IsZero():
		c.since.Store(0)
	default:
		c.since.Store(since.UnixNano())
	}
}

// stuck is since when a connection waits for its client in the midst of a request; 0 if it doesn't.
func (c *conn) stuck() int64 {
	reads, writes := c.since.Load(), c.writing.Load()
	if reads == 0 || writes != 0 && writes < reads {
		return writes
	}
	return reads
}

// room is the connections of a listener. One that comes when it is full takes the place of the one that has waited
// longest for a request or, if none does, for more of a body.
type room struct {
	proxy *Proxy
	name  string
	most  int

	mu      sync.Mutex
	all     map[*conn]bool
	closed  bool
	running sync.WaitGroup // requests; nothing is added once it is closed
	waiting *list.List     // those between two requests and those whose first isn't complete, the one that waits longest first
}

func newRoom(p *Proxy, name string) *room {
	return &room{proxy: p, name: name, most: p.config.Connections, all: map[*conn]bool{}, waiting: list.New()}
}

// listener hands out the connections of a room.
type listener struct {
	net.Listener

	room *room
}

// Accept makes room for a connection.
func (l listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // this is a net.Listener
		}
		c := &conn{Conn: accepted, room: l.room}
		if l.room.enter(c) {
			return c, nil
		}
		_ = accepted.Close()
	}
}

// enter is false if there is no room and nobody waits.
func (r *room) enter(c *conn) bool {
	r.mu.Lock()
	var out *conn
	full := len(r.all) >= r.most
	if full {
		if out = r.patient(); out == nil {
			r.mu.Unlock()
			r.proxy.metrics.refused.WithLabelValues(r.name).Inc()
			return false
		}
		r.forget(out)
	}
	r.all[c] = true
	c.element = r.waiting.PushBack(c)
	count := len(r.all)
	r.mu.Unlock()
	r.proxy.metrics.connections.WithLabelValues(r.name).Set(float64(count))
	if out != nil {
		r.proxy.metrics.evicted.WithLabelValues(r.name).Inc()
		// Nobody waits for it to go: what it has unsent may take a while.
		_ = out.SetDeadline(r.proxy.clock.Now())
		_ = out.Close()
	}
	return true
}

// patient is who has waited longest for its client.
func (r *room) patient() *conn {
	if front := r.waiting.Front(); front != nil {
		c, _ := front.Value.(*conn) //nolint:errcheck // nothing else is in the list
		return c
	}
	limit := r.proxy.clock.Now().Add(-slow).UnixNano()
	var found *conn
	for c := range r.all {
		if since := c.stuck(); since != 0 && since < limit {
			found, limit = c, since
		}
	}
	return found
}

func (r *room) leave(c *conn) {
	r.mu.Lock()
	r.forget(c)
	count := len(r.all)
	r.mu.Unlock()
	r.proxy.metrics.connections.WithLabelValues(r.name).Set(float64(count))
}

func (r *room) forget(c *conn) {
	delete(r.all, c)
	if c.element != nil {
		r.waiting.Remove(c.element)
		c.element = nil
	}
}

// changed is told by http.Server what a connection does.
func (r *room) changed(given net.Conn, state http.ConnState) {
	c := unwrap(given)
	if c == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.all[c] {
		return
	}
	switch state {
	case http.StateActive, http.StateHijacked:
		if c.element != nil {
			r.waiting.Remove(c.element)
			c.element = nil
		}
	case http.StateIdle:
		if c.element == nil {
			c.element = r.waiting.PushBack(c)
		} else {
			r.waiting.MoveToBack(c.element)
		}
	case http.StateNew, http.StateClosed:
	}
}

// context tells a request which connection it came by.
func (r *room) context(ctx context.Context, given net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, unwrap(given))
}

// ServeHTTP serves a request that came in time.
func (r *room) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.running.Add(1)
	r.mu.Unlock()
	defer r.running.Done()
	r.proxy.ServeHTTP(w, req)
}

// close ends all connections, those that were taken over too, and waits for their requests.
func (r *room) close() {
	r.mu.Lock()
	r.closed = true
	all := make([]*conn, 0, len(r.all))
	for c := range r.all {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	r.running.Wait()
}

func unwrap(given net.Conn) *conn {
	if secured, ok := given.(*tls.Conn); ok {
		given = secured.NetConn()
	}
	c, _ := given.(*conn) //nolint:errcheck // nil is fine
	return c
}
