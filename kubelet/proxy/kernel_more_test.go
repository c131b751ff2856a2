package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/network"
	"skiff/kubelet/network/nstest"
	"skiff/kubelet/nft"
	"skiff/kubelet/nft/nfttest"
)

func TestKernelNodePort(t *testing.T) {
	bothBridgings(t, func(t *testing.T, w *world) {
		svc := service("web", "10.96.0.100", nodePort(tcp(80), 30080), nodePort(udp(80), 30080))
		svc.Spec.Type = corev1.ServiceTypeNodePort
		svc.Spec.ExternalIPs = []string{"203.0.113.9"}
		w.apply(svc, slice("web", 8080, "10.244.0.11", "10.244.0.12"))
		for _, proto := range []string{"tcp", "udp"} {
			w.reaches(w.outside, proto, "198.51.100.1:30080", "a", "b")
			w.reaches(w.outside, proto, "203.0.113.9:80", "a", "b")
			w.reaches(w.pods["a"], proto, "198.51.100.1:30080", "a", "b")
			w.reaches(nil, proto, "198.51.100.1:30080", "a", "b")
		}
		if got := w.client4(w.outside, "tcp", "198.51.100.1:30080"); got != "10.244.0.1" {
			t.Errorf("policy Cluster shows the client as %s, not the node", got)
		}
		w.refused(nil, "tcp", "127.0.0.1:30080")

		svc = svc.DeepCopy()
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		w.apply(svc, slice("web", 8080, "10.244.0.11 elsewhere", "10.244.0.12"))
		w.reaches(w.outside, "tcp", "198.51.100.1:30080", "b")
		w.reaches(w.pods["c"], "tcp", "198.51.100.1:30080", "a", "b")
		if got := w.client4(w.outside, "tcp", "198.51.100.1:30080"); got != outsideIP.String() {
			t.Errorf("policy Local shows the client as %s", got)
		}
		if err := w.client.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.refused(w.outside, "tcp", "198.51.100.1:30080")
	})
}

func TestKernelAffinity(t *testing.T) {
	w := newWorld(t, network.Filtered)
	svc := service("web", "10.96.0.100", tcp(80))
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr[int32](1)}}
	w.apply(svc, slice("web", 8080, "10.244.0.11", "10.244.0.12", "10.244.0.13"))
	const to = "10.96.0.100:80"
	var first string
	w.eventually("an answer", func() (err error) { first, _, err = w.pods["a"].Ask("tcp", to); return err })
	for range 30 {
		if again, _, err := w.pods["a"].Ask("tcp", to); err != nil || again != first {
			t.Fatalf("went to %s, then to %s: %v", first, again, err)
		}
	}
	// The endpoint goes: the client gets another one, and sticks to that.
	left := map[string]string{"a": "10.244.0.11", "b": "10.244.0.12", "c": "10.244.0.13"}
	delete(left, first)
	var addrs []string
	for _, addr := range left {
		addrs = append(addrs, addr)
	}
	w.apply(slice("web", 8080, addrs...))
	var second string
	w.eventually("another endpoint", func() (err error) {
		if second, _, err = w.pods["a"].Ask("tcp", to); err == nil && second == first {
			err = errors.New("still the old one")
		}
		return err
	})
	for range 30 {
		if again, _, err := w.pods["a"].Ask("tcp", to); err != nil || again != second {
			t.Fatalf("went to %s, then to %s: %v", second, again, err)
		}
	}
	// After the timeout the choice is free again: 20 times the same endpoint of two is one in a million.
	w.eventually("another choice after the timeout", func() error {
		time.Sleep(1100 * time.Millisecond)
		if again, _, err := w.pods["a"].Ask("tcp", to); err != nil || again == second {
			return fmt.Errorf("still %s: %w", again, err)
		}
		return nil
	})
}

func TestKernelInternalLocal(t *testing.T) {
	w := newWorld(t, network.Filtered)
	svc := service("web", "10.96.0.100", tcp(80))
	svc.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
	w.apply(svc, slice("web", 8080, "10.244.0.11 elsewhere", "10.244.0.12", "10.244.0.13 terminating"))
	w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "b")
	w.apply(slice("web", 8080, "10.244.0.11 elsewhere", "10.244.0.13 terminating"))
	w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "c")
}

func TestKernelSourceRanges(t *testing.T) {
	w := newWorld(t, network.Filtered)
	svc := service("web", "10.96.0.100", tcp(80))
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24", "198.51.100.2/32"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}
	w.apply(svc, slice("web", 8080, "10.244.0.11"))
	w.reaches(w.outside, "tcp", "203.0.113.9:80", "a")
	svc = svc.DeepCopy()
	svc.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24"}
	w.apply(svc)
	w.eventually("the client is kept out", func() error {
		if server, _, err := w.outside.Ask("tcp", "203.0.113.9:80"); err == nil {
			return fmt.Errorf("%s answered", server)
		}
		return nil
	})
	w.reaches(w.pods["b"], "tcp", "203.0.113.9:80", "a")
}

func TestKernelHostPort(t *testing.T) {
	bothBridgings(t, func(t *testing.T, w *world) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"},
			Spec: corev1.PodSpec{NodeName: testNode, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
				{ContainerPort: 8080, HostPort: 9000, Protocol: corev1.ProtocolTCP},
				{ContainerPort: 8080, HostPort: 9001, Protocol: corev1.ProtocolUDP, HostIP: nodeIP.String()},
				{ContainerPort: 8080, HostPort: 9002, Protocol: corev1.ProtocolTCP, HostIP: "203.0.113.77"},
			}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.244.0.11"},
		}
		w.apply(pod)
		for _, from := range []*nstest.Namespace{w.outside, w.pods["a"], w.pods["b"], nil} {
			w.reaches(from, "tcp", "198.51.100.1:9000", "a")
			w.reaches(from, "udp", "198.51.100.1:9001", "a")
		}
		if got := w.client4(w.outside, "tcp", "198.51.100.1:9000"); got != outsideIP.String() {
			t.Errorf("a host port shows the client as %s", got)
		}
		w.refused(w.outside, "tcp", "198.51.100.1:9002")
		done := pod.DeepCopy()
		done.Status.Phase = corev1.PodSucceeded
		w.apply(done)
		w.refused(w.outside, "tcp", "198.51.100.1:9000")
	})
}

// TestKernelMasquerade: pods talk outward under the node's address and to each other under their own.
func TestKernelMasquerade(t *testing.T) {
	bothBridgings(t, func(t *testing.T, w *world) {
		w.outside.Serve(t, 7000)
		w.reaches(w.pods["a"], "tcp", "198.51.100.2:7000", "out")
		if got := w.client4(w.pods["a"], "tcp", "198.51.100.2:7000"); got != nodeIP.String() {
			t.Errorf("outside a pod is known as %s", got)
		}
		if got := w.client4(w.pods["a"], "tcp", "10.244.0.12:8080"); got != "10.244.0.11" {
			t.Errorf("another pod knows a pod as %s", got)
		}
	})
}

// TestKernelUDPFollows: a client that never pauses is moved from a gone UDP endpoint, and to the first one that comes.
func TestKernelUDPFollows(t *testing.T) {
	w := newWorld(t, network.Filtered)
	w.apply(service("web", "10.96.0.100", udp(80)), slice("web", 8080, "10.244.0.12"))
	w.reaches(w.pods["a"], "udp", "10.96.0.100:80", "b")
	conn, err := w.pods["a"].Dial("udp", "10.96.0.100:80")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	hears := func(want string) func() error {
		return func() error {
			if server, _, err := nstest.Hear(conn); err != nil || server != want {
				return fmt.Errorf("answered by %q: %w", server, err)
			}
			return nil
		}
	}
	w.eventually("first endpoint", hears("b"))
	w.apply(slice("web", 8080, "10.244.0.13"))
	w.eventually("second endpoint", hears("c"))
	w.apply(slice("web", 8080))
	w.refused(w.pods["a"], "udp", "10.96.0.100:80")
	w.apply(slice("web", 8080, "10.244.0.12"))
	w.eventually("third endpoint", hears("b"))
}

// TestKernelUpdateUnderLoad: new connections never fail, and old ones live on, while endpoints come and go.
func TestKernelUpdateUnderLoad(t *testing.T) {
	w := newWorld(t, network.Filtered)
	w.apply(service("web", "10.96.0.100", tcp(80)), slice("web", 8080, "10.244.0.12"))
	w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "b")
	held, err := w.pods["a"].Dial("tcp", "10.96.0.100:80")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	if _, _, err := nstest.Hear(held); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var asked int
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for !stop.Load() {
			if _, _, err := w.pods["a"].Ask("tcp", "10.96.0.100:80"); err != nil {
				failed <- err
				return
			}
			asked++
		}
	}()
	for i := range 60 {
		switch i % 3 {
		case 0:
			w.apply(slice("web", 8080, "10.244.0.11", "10.244.0.12", "10.244.0.13"))
		case 1:
			w.apply(slice("web", 8080, "10.244.0.13"))
		case 2:
			w.apply(slice("web", 8080, "10.244.0.12", "10.244.0.11"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop.Store(true)
	if err := <-failed; err != nil {
		t.Errorf("a connection failed during updates: %v", err)
	}
	t.Logf("%d connections during 60 updates", asked)
	if err := echo(held); err != nil {
		t.Errorf("an open connection broke: %v", err)
	}
}

func echo(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "still here"); err != nil {
		return err
	}
	buf := make([]byte, len("still here"))
	_, err := io.ReadFull(conn, buf)
	return err
}

// TestKernelRepair: whatever is done to the table, Services work again within a second; other tables stay as they are.
func TestKernelRepair(t *testing.T) {
	w := newWorld(t, network.Filtered)
	w.apply(service("web", "10.96.0.100", tcp(80)), slice("web", 8080, "10.244.0.12"))
	w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "b")
	if err := nfttest.AddTable("other"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Cleanup("other") })
	for name, damage := range nfttest.Damages(w.config.Table) {
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		start := time.Now()
		w.eventually(name, func() error {
			conn, err := net.DialTimeout("tcp", "10.96.0.100:80", 50*time.Millisecond)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: repaired after %v", name, took)
		}
	}
	if handle, err := nft.Handle(nft.IPv4, "other"); err != nil || handle == 0 {
		t.Errorf("another program's table is gone: %v", err)
	}
}

// TestKernelDNSLeftAlone: the cluster's DNS Service has no endpoints, yet nothing refuses or translates its traffic.
func TestKernelDNSLeftAlone(t *testing.T) {
	w := newWorld(t, network.Filtered)
	dns := service("kube-dns", "10.96.0.10", udp(53), tcp(53))
	w.apply(dns, service("web", "10.96.0.100", tcp(80)), slice("web", 8080, "10.244.0.12"))
	w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "b") // by now the DNS Service is planned too
	if err := exec.Command("ip", "addr", "add", "10.96.0.10/32", "dev", w.net.BridgeName).Run(); err != nil {
		t.Skip("no ip tool")
	}
	conn, err := net.ListenPacket("udp", "10.96.0.10:53")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client, err := w.pods["a"].Dial("udp", "10.96.0.10:53")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	n, from, err := conn.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" || !strings.HasPrefix(from.String(), "10.244.0.11:") {
		t.Errorf("got %q from %v: %v", buf[:n], from, err)
	}
}

// TestKernelListable: the host's nft tool, where there is one, can print the table.
func TestKernelListable(t *testing.T) {
	w := newWorld(t, network.Filtered)
	svc := service("web", "10.96.0.100", nodePort(tcp(80), 30080))
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	w.apply(svc, slice("web", 8080, "10.244.0.12"))
	w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "b")
	tool, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("no nft tool")
	}
	out, err := exec.Command(tool, "list", "table", "ip", w.config.Table).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
