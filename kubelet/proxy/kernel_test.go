package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"

	"skiff/kubelet/network"
	"skiff/kubelet/network/nstest"
	"skiff/kubelet/nft"
)

// world is a node with pods, an outside client, and a running proxy, all on the kernel.
type world struct {
	t       *testing.T
	client  *fake.Clientset
	pods    map[string]*nstest.Namespace
	outside *nstest.Namespace
	config  Config
	net     network.Config
	proxy   *Proxy
}

var (
	nodeIP    = netip.MustParseAddr("198.51.100.1")
	outsideIP = netip.MustParseAddr("198.51.100.2")
)

// newWorld makes pods a, b and c at 10.244.0.11 to .13, serving port 8080.
func newWorld(t *testing.T, bridging network.Bridging) *world {
	nstest.Need(t)
	w := &world{
		t: t, client: fake.NewClientset(), pods: map[string]*nstest.Namespace{},
		net: network.Config{
			Name: "test", BridgeName: "sk-test", Bridging: bridging,
			PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")},
			ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
			ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
			CNIConfDir:   t.TempDir(), IPAMDir: t.TempDir(),
		},
	}
	w.config = Config{
		Table: "skiff-test", NodeName: testNode, NodeIPs: []netip.Addr{nodeIP},
		ServiceCIDRs: w.net.ServiceCIDRs, ClusterCIDRs: w.net.ClusterCIDRs,
		DNSAddresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, RepairPeriod: 20 * time.Millisecond,
	}
	w.lay()
	for i, name := range []string{"a", "b", "c"} {
		pod := nstest.New(t, name)
		pod.Attach(t, nstest.Port{
			Bridge: w.net.BridgeName, Addr: netip.MustParsePrefix(fmt.Sprintf("10.244.0.%d/24", 11+i)),
			Gateway: netip.MustParseAddr("10.244.0.1"), Isolated: bridging == network.Routed, Hairpin: true,
		})
		pod.Serve(t, 8080)
		w.pods[name] = pod
	}
	w.outside = nstest.New(t, "out")
	w.outside.Join(t, netip.PrefixFrom(outsideIP, 24), nodeIP)
	w.run()
	return w
}

func (w *world) lay() {
	w.t.Helper()
	n, err := network.New(w.net)
	if err == nil {
		err = n.Setup(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := network.Cleanup(w.net); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) run() {
	w.t.Helper()
	factory := informers.NewSharedInformerFactory(w.client, 0)
	proxy, err := New(w.config, Deps{Informers: factory})
	if err != nil {
		w.t.Fatal(err)
	}
	w.proxy = proxy
	ctx, cancel := context.WithCancel(klog.NewContext(w.t.Context(), klog.NewKlogr()))
	factory.Start(ctx.Done())
	var done sync.WaitGroup
	done.Go(func() {
		if err := proxy.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	<-proxy.Ready()
	w.t.Cleanup(func() {
		cancel()
		done.Wait()
		factory.Shutdown()
		if err := Cleanup(w.config.Table); err != nil {
			w.t.Error(err)
		}
		if handle, err := nft.Handle(nft.IPv4, w.config.Table); err != nil || handle != 0 {
			w.t.Errorf("table left after cleanup: %d, %v", handle, err)
		}
	})
}

// apply creates or updates objects.
func (w *world) apply(objs ...any) {
	w.t.Helper()
	ctx, opts := w.t.Context(), metav1.UpdateOptions{}
	for _, obj := range objs {
		var err error
		switch o := obj.(type) {
		case *corev1.Service:
			if _, err = w.client.CoreV1().Services(o.Namespace).Update(ctx, o, opts); err != nil {
				_, err = w.client.CoreV1().Services(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
			}
		case *discoveryv1.EndpointSlice:
			api := w.client.DiscoveryV1().EndpointSlices(o.Namespace)
			if _, err = api.Update(ctx, o, opts); err != nil {
				_, err = api.Create(ctx, o, metav1.CreateOptions{})
			}
		case *corev1.Pod:
			if _, err = w.client.CoreV1().Pods(o.Namespace).Update(ctx, o, opts); err != nil {
				_, err = w.client.CoreV1().Pods(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
			}
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// eventually waits until check is content.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	deadline := time.Now().Add(8 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// reaches waits until asking from the namespace (nil: the node) reaches exactly the wanted servers.
func (w *world) reaches(from *nstest.Namespace, proto, to string, wanted ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s to %s", proto, to), func() error {
		got := map[string]bool{}
		for range 12 * len(wanted) {
			server, _, err := from.Ask(proto, to)
			if err != nil {
				return err
			}
			got[server] = true
		}
		for _, name := range wanted {
			if !got[name] {
				return fmt.Errorf("%s never answered, only %v", name, got)
			}
			delete(got, name)
		}
		if len(got) > 0 {
			return fmt.Errorf("also answered by %v", got)
		}
		return nil
	})
}

// client answers under which address the server sees a client from the namespace.
func (w *world) client4(from *nstest.Namespace, proto, to string) string {
	w.t.Helper()
	_, client, err := from.Ask(proto, to)
	if err != nil {
		w.t.Fatalf("%s to %s: %v", proto, to, err)
	}
	return client
}

// refused waits until connections are refused at once.
func (w *world) refused(from *nstest.Namespace, proto, to string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s to %s refused", proto, to), func() error {
		start := time.Now()
		server, _, err := from.Ask(proto, to)
		switch {
		case err == nil:
			return fmt.Errorf("answered by %s", server)
		case !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "not permitted"):
			return err
		case time.Since(start) > time.Second:
			return errors.New("slow to refuse")
		}
		return nil
	})
}

func bothBridgings(t *testing.T, test func(t *testing.T, w *world)) {
	for _, b := range []network.Bridging{network.Filtered, network.Routed} {
		t.Run(string(b), func(t *testing.T) { test(t, newWorld(t, b)) })
	}
}

func TestKernelClusterIP(t *testing.T) {
	bothBridgings(t, func(t *testing.T, w *world) {
		w.apply(service("web", "10.96.0.100", tcp(80), udp(80)),
			slice("web", 8080, "10.244.0.11", "10.244.0.12", "10.244.0.13"))
		for _, proto := range []string{"tcp", "udp"} {
			w.reaches(w.pods["a"], proto, "10.96.0.100:80", "a", "b", "c") // itself too: a hairpin
			w.reaches(nil, proto, "10.96.0.100:80", "a", "b", "c")
		}
		w.apply(slice("web", 8080, "10.244.0.12"))
		w.reaches(w.pods["a"], "tcp", "10.96.0.100:80", "b")
		if got := w.client4(w.pods["a"], "tcp", "10.96.0.100:80"); got != "10.244.0.11" {
			t.Errorf("b sees its client as %s; a pod's address must stay", got)
		}
		w.refused(w.pods["a"], "tcp", "10.96.0.100:81")
		w.apply(slice("web", 8080))
		w.refused(w.pods["a"], "tcp", "10.96.0.100:80")
		w.refused(w.pods["a"], "udp", "10.96.0.100:80")
		w.refused(nil, "tcp", "10.96.0.100:80")
		w.refused(nil, "udp", "10.96.0.100:80")
	})
}
