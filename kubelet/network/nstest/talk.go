package nstest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// patience bounds each exchange; far above what a working one takes.
const patience = 2 * time.Second

// Serve answers each TCP connection and each UDP packet on the port with "NAME CLIENT-ADDRESS" until the test ends.
// After the answer a TCP connection echoes.
func (n *Namespace) Serve(t testing.TB, port uint16) {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	err := n.Do(func() (err error) {
		at := fmt.Sprintf(":%d", port)
		if tcp, err = net.Listen("tcp", at); err == nil {
			udp, err = net.ListenPacket("udp", at)
		}
		return err
	})
	if err != nil {
		t.Fatalf("serving in %s: %v", n.Name, err)
	}
	var all sync.WaitGroup
	conns := &open{conns: map[net.Conn]bool{}}
	all.Go(func() { n.serveTCP(tcp, conns, &all) })
	all.Go(func() { n.serveUDP(udp) })
	t.Cleanup(func() {
		_ = tcp.Close()
		_ = udp.Close()
		conns.close()
		all.Wait()
	})
}

func (n *Namespace) serveTCP(l net.Listener, conns *open, all *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conns.add(conn)
		all.Go(func() {
			defer conns.drop(conn)
			if _, err := io.WriteString(conn, n.answer(conn.RemoteAddr())); err == nil {
				_, _ = io.Copy(conn, conn)
			}
		})
	}
}

func (n *Namespace) serveUDP(conn net.PacketConn) {
	buf := make([]byte, 64)
	for {
		_, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo([]byte(n.answer(from)), from)
	}
}

func (n *Namespace) answer(client net.Addr) string {
	at, err := netip.ParseAddrPort(client.String())
	if err != nil {
		return n.Name + " ?\n"
	}
	return n.Name + " " + at.Addr().Unmap().String() + "\n"
}

// Dial connects from the namespace; a nil namespace is the node.
func (n *Namespace) Dial(network, to string) (conn net.Conn, err error) {
	dial := func() error {
		conn, err = net.DialTimeout(network, to, patience)
		return err
	}
	if n == nil {
		return conn, dial()
	}
	return conn, n.Do(dial)
}

// Ask connects (or sends a packet) and answers who served it, and under which address it knew the client.
func (n *Namespace) Ask(network, to string) (server, client string, err error) {
	conn, err := n.Dial(network, to)
	if err != nil {
		return "", "", err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with the socket
	return Hear(conn)
}

// Hear reads a server's answer, first sending something if that is what makes a server of packets answer.
func Hear(conn net.Conn) (server, client string, err error) {
	deadline := time.Now().Add(patience) //nolint:forbidigo // sockets take real time
	if err := conn.SetDeadline(deadline); err != nil {
		return "", "", err
	}
	if _, packets := conn.(*net.UDPConn); packets {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	buf := make([]byte, 256)
	got, err := conn.Read(buf)
	if err != nil {
		return "", "", err
	}
	if _, err := fmt.Sscanf(string(buf[:got]), "%s %s", &server, &client); err != nil {
		return "", "", errors.Join(fmt.Errorf("answer %q", buf[:got]), err)
	}
	return server, client, nil
}

// open is the connections to close when a server ends.
type open struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (o *open) add(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conns[c] = true
}

func (o *open) drop(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
	_ = c.Close()
}

func (o *open) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		_ = c.Close()
	}
}
