// Package netns gives a test a network namespace of its own, with no way out:
// a loopback interface and, on request, addresses on a link of its own (a bridge
// without ports: every kernel that runs pods has that type). Join connects two.
package netns

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// Namespace is a network namespace that ends with its test.
type Namespace struct {
	Name   string
	handle netns.NsHandle
}

// New makes a namespace with loopback up and each address (such as
// 192.0.2.10/24) on a link named eth0. The test needs root.
func New(t testing.TB, addresses ...string) *Namespace {
	t.Helper()
	n := bare(t)
	if len(addresses) > 0 {
		run(t, "ip", "-n", n.Name, "link", "add", "eth0", "type", "bridge")
		n.addresses(t, "eth0", addresses)
	}
	return n
}

// Join connects two namespaces by a cable: a link of the name in each, with the addresses.
func Join(t testing.TB, a *Namespace, nameA, addressA string, b *Namespace, nameB, addressB string) {
	t.Helper()
	run(t, "ip", "link", "add", "name", nameA, "netns", a.Name, "type", "veth", "peer", "name", nameB, "netns", b.Name)
	a.addresses(t, nameA, []string{addressA})
	b.addresses(t, nameB, []string{addressB})
}

// Route sends what goes to the range by way of the gateway.
func (n *Namespace) Route(t testing.TB, to, gateway string) {
	t.Helper()
	run(t, "ip", "-n", n.Name, "route", "add", to, "via", gateway)
}

// addresses brings a link up with the addresses.
func (n *Namespace) addresses(t testing.TB, link string, addresses []string) {
	t.Helper()
	run(t, "ip", "-n", n.Name, "link", "set", link, "up")
	for _, a := range addresses {
		run(t, "ip", "-n", n.Name, "address", "add", a, "dev", link)
	}
}

// bare makes a namespace with loopback up.
func bare(t testing.TB) *Namespace {
	t.Helper()
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	n := &Namespace{Name: "skiff-test-" + hex.EncodeToString(id)}
	run(t, "ip", "netns", "add", n.Name)
	t.Cleanup(func() { run(t, "ip", "netns", "delete", n.Name) })
	handle, err := netns.GetFromName(n.Name)
	if err != nil {
		t.Fatal(err)
	}
	n.handle = handle
	t.Cleanup(func() { _ = handle.Close() })
	run(t, "ip", "-n", n.Name, "link", "set", "lo", "up")
	return n
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil { //nolint:noctx // also runs in cleanups
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// Command answers a command that will run inside the namespace.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + n.Name, "--", name}, args...)...)
}

// Do runs f on a thread that is inside the namespace.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			result <- fmt.Errorf("finding the thread's namespace: %w", err)
			return
		}
		defer home.Close()
		if err := netns.Set(n.handle); err != nil {
			result <- fmt.Errorf("entering %s: %w", n.Name, err)
			return
		}
		err = f()
		if back := netns.Set(home); back != nil {
			result <- errors.Join(err, back) // the thread ends with the goroutine, still locked
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// Dial connects from inside the namespace.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the namespace.
func (n *Namespace) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return l, err
}
