package netns

import (
	"net"
	"os"
	"testing"
)

func TestNamespaceIsClosed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	n := New(t, "192.0.2.10/24")
	l, err := n.Listen(t.Context(), "tcp", "192.0.2.10:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := n.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		conn.Close()
		t.Error("the address is reachable from outside")
	}
	if out, err := n.Command(t.Context(), "ip", "route", "get", "198.51.100.1").CombinedOutput(); err == nil {
		t.Errorf("there is a way out: %s", out)
	}
}
