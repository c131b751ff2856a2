package policy

import (
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"skiff/kubelet/network/nstest"
)

// How long an answer is waited for: unanswered where it may be missing (a working one takes a thousandth of it, and one
// that must come is asked for again), patience where it must come the first time.
const (
	unanswered = 300 * time.Millisecond
	patience   = 8 * time.Second
)

// dial connects and hears the server's greeting.
func dial(from *nstest.Namespace, network, to string, within time.Duration) (conn net.Conn, err error) {
	try := func() error {
		conn, err = net.DialTimeout(network, to, within)
		return err
	}
	if from == nil {
		err = try()
	} else {
		err = from.Do(try)
	}
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return conn, err
	}
	if network == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return conn, err
		}
	}
	_, err = conn.Read(make([]byte, 64))
	return conn, err
}

// atOnce reports whether no packet of a TCP connection had to be sent again.
func atOnce(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("%T is no TCP connection", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil {
		return err
	}
	if failed == nil && info.Total_retrans > 0 {
		failed = fmt.Errorf("%d packets were sent again", info.Total_retrans)
	}
	return failed
}

// echoes reports how an open TCP connection fares.
func echoes(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "still here"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len("still here")))
	return err
}
