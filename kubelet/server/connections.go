package server

import (
	"bytes"
	"log"
	"net"
	"sync"

	"github.com/go-logr/logr"
)

// connections is a listener that knows its connections, so that also those taken over by streams can be ended.
type connections struct {
	net.Listener

	mu   sync.Mutex
	open map[*connection]struct{}
}

func trackConnections(inner net.Listener) *connections {
	return &connections{Listener: inner, open: map[*connection]struct{}{}}
}

// Accept waits for the next connection.
func (c *connections) Accept() (net.Conn, error) {
	inner, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &connection{Conn: inner, owner: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tracked] = struct{}{}
	return tracked, nil
}

// closeAll ends every connection.
func (c *connections) closeAll() {
	c.mu.Lock()
	open := make([]*connection, 0, len(c.open))
	for tracked := range c.open {
		open = append(open, tracked)
	}
	c.mu.Unlock()
	for _, tracked := range open {
		_ = tracked.Close()
	}
}

// connection forgets itself when it is closed.
type connection struct {
	net.Conn
	owner *connections
}

// Close closes the connection; more than once is no error of the caller.
func (c *connection) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.open, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// quiet passes the HTTP server's messages, which tell of clients' mistakes, to a verbose level.
func quiet(logger logr.Logger) *log.Logger { return log.New(verbose{logger}, "", 0) }

type verbose struct{ logger logr.Logger }

// Write logs one message.
func (v verbose) Write(message []byte) (int, error) {
	v.logger.V(4).Info(string(bytes.TrimSpace(message)))
	return len(message), nil
}
