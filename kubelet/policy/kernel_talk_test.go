package policy

import (
	"io"
	"net"
	"time"

	"skiff/kubelet/network/nstest"
)

// unanswered is how long a connection that must fail is waited for: a working one takes a thousandth of it.
const unanswered = 300 * time.Millisecond

// dial connects and hears the server's greeting.
func dial(from *nstest.Namespace, network, to string) (conn net.Conn, err error) {
	try := func() error {
		conn, err = net.DialTimeout(network, to, unanswered)
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
	if err := conn.SetDeadline(time.Now().Add(unanswered)); err != nil {
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

// echoes reports how an open TCP connection fares.
func echoes(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(unanswered)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "still here"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len("still here")))
	return err
}
