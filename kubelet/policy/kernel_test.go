package policy

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
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"

	"skiff/kubelet/network"
	"skiff/kubelet/network/nstest"
	"skiff/kubelet/nft"
)

// world is a node with pods, two outside clients, and policies in force, all on the kernel. Its pods are web, db and
// client of namespace default and other of prod.
type world struct {
	t        *testing.T
	client   *fake.Clientset
	ends     map[string]*nstest.Namespace // nil: the node
	net      network.Config
	config   Config
	enforcer *Enforcer
	stop     func()
	factory  informers.SharedInformerFactory
	v6       bool
}

const testTable = "skiff-policy-test"

// worldPods are the pods' last parts of addresses.
var worldPods = map[string]int{"web": 11, "db": 12, "client": 13, "other": 14}

func newWorld(t *testing.T, bridging network.Bridging, v6 bool) *world {
	nstest.Need(t)
	w := &world{t: t, client: fake.NewClientset(), ends: map[string]*nstest.Namespace{"node": nil}, v6: v6}
	w.net = network.Config{
		Name: "test", BridgeName: "sk-test", Bridging: bridging,
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		CNIConfDir:   t.TempDir(), IPAMDir: t.TempDir(),
	}
	if v6 {
		w.net.PodCIDRs = append(w.net.PodCIDRs, netip.MustParsePrefix("fd00:10:244::/64"))
		w.net.ClusterCIDRs = append(w.net.ClusterCIDRs, netip.MustParsePrefix("fd00:10:244::/56"))
	}
	w.config = Config{Table: testTable, NodeName: testNode, ClusterCIDRs: w.net.ClusterCIDRs, Link: w.net.BridgeName, RepairPeriod: 20 * time.Millisecond}
	w.lay()
	for name, i := range worldPods {
		w.pod(name, i)
	}
	for name, subnet := range map[string]int{"office": 100, "guest": 101} {
		end := nstest.New(t, name)
		gateway := netip.AddrFrom4([4]byte{198, 51, byte(subnet), 1})
		end.Join(t, netip.PrefixFrom(gateway.Next(), 24), gateway)
		end.Serve(t, 80)
		w.ends[name] = end
	}
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

// pod attaches a pod that serves the ports 80 and 8080.
func (w *world) pod(name string, i int) {
	pod := nstest.New(w.t, name)
	port := nstest.Port{
		Bridge: w.net.BridgeName, Addr: netip.MustParsePrefix(fmt.Sprintf("10.244.0.%d/24", i)),
		Gateway: netip.MustParseAddr("10.244.0.1"), Isolated: w.net.Bridging == network.Routed, Hairpin: true,
	}
	if w.v6 {
		port.Addr, port.Gateway = netip.MustParsePrefix(fmt.Sprintf("fd00:10:244::%d/64", i)), netip.MustParseAddr("fd00:10:244::1")
	}
	pod.Attach(w.t, port)
	pod.Serve(w.t, 80)
	pod.Serve(w.t, 8080)
	w.ends[name] = pod
}

func (w *world) run() {
	w.t.Helper()
	w.apply(newTestNamespace("default", ""), newTestNamespace("prod", "team=ops"))
	for name := range worldPods {
		w.apply(w.object(name))
	}
	w.factory = informers.NewSharedInformerFactory(w.client, 0)
	enforcer, err := New(w.config, Deps{Informers: w.factory})
	if err != nil {
		w.t.Fatal(err)
	}
	w.enforcer = enforcer
	ctx, cancel := context.WithCancel(klog.NewContext(w.t.Context(), klog.NewKlogr()))
	w.factory.Start(ctx.Done())
	var done sync.WaitGroup
	done.Go(func() {
		if err := enforcer.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	<-enforcer.Ready()
	w.stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
	})
	w.t.Cleanup(func() {
		w.stop()
		w.factory.Shutdown()
		if err := Cleanup(w.config.Table); err != nil {
			w.t.Error(err)
		}
		if handle, err := nft.Handle(nft.IPv4, w.config.Table); err != nil || handle != 0 {
			w.t.Errorf("table left after cleanup: %d, %v", handle, err)
		}
	})
}

// object is the pod as the API has it.
func (w *world) object(name string) *corev1.Pod {
	namespace := "default"
	if name == "other" {
		namespace = "prod"
	}
	addrs := fmt.Sprintf("10.244.0.%d,fd00:10:244::%d", worldPods[name], worldPods[name])
	return newTestPod(namespace+"/"+name, testNode, "app="+name, addrs)
}

// apply creates or updates objects.
func (w *world) apply(objs ...any) {
	w.t.Helper()
	for _, obj := range objs {
		o, ok := obj.(runtime.Object)
		if !ok {
			w.t.Fatalf("%T", obj)
		}
		var err error
		switch o := o.(type) {
		case *corev1.Pod:
			api := w.client.CoreV1().Pods(o.Namespace)
			if _, err = api.Update(w.t.Context(), o, metav1.UpdateOptions{}); err != nil {
				_, err = api.Create(w.t.Context(), o, metav1.CreateOptions{})
			}
		case *corev1.Namespace:
			api := w.client.CoreV1().Namespaces()
			if _, err = api.Update(w.t.Context(), o, metav1.UpdateOptions{}); err != nil {
				_, err = api.Create(w.t.Context(), o, metav1.CreateOptions{})
			}
		case *networkingv1.NetworkPolicy:
			api := w.client.NetworkingV1().NetworkPolicies(o.Namespace)
			if _, err = api.Update(w.t.Context(), o, metav1.UpdateOptions{}); err != nil {
				_, err = api.Create(w.t.Context(), o, metav1.CreateOptions{})
			}
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// policies replaces all policies of namespace default.
func (w *world) policies(specs string) {
	w.t.Helper()
	api := w.client.NetworkingV1().NetworkPolicies("default")
	old, err := api.List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	wanted := policies(w.t, specs)
	w.apply(wanted...)
	for i := len(wanted); i < len(old.Items); i++ {
		if err := api.Delete(w.t.Context(), fmt.Sprint("p", i), metav1.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.settled()
}

// settled waits until the informers have told of everything that was written so far, and the kernel has it.
func (w *world) settled() {
	w.t.Helper()
	w.eventually("the cache to be as the API", func() error {
		api, err := w.client.NetworkingV1().NetworkPolicies("").List(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		known := w.factory.Networking().V1().NetworkPolicies().Informer().GetStore().List()
		if len(known) != len(api.Items) {
			return fmt.Errorf("%d policies, wanted %d", len(known), len(api.Items))
		}
		for i := range api.Items {
			p, err := w.enforcer.policies.NetworkPolicies(api.Items[i].Namespace).Get(api.Items[i].Name)
			if err != nil || compile(p).text != compile(&api.Items[i]).text {
				return errors.Join(fmt.Errorf("%s is old", api.Items[i].Name), err)
			}
		}
		return nil
	})
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

// address is where an end is reached on the port.
func (w *world) address(name, port string) string {
	i, pod := worldPods[name]
	switch {
	case name == "office":
		return "198.51.100.2:" + port
	case name == "guest":
		return "198.51.101.2:" + port
	case pod && w.v6:
		return fmt.Sprintf("[fd00:10:244::%d]:%s", i, port)
	case pod:
		return fmt.Sprintf("10.244.0.%d:%s", i, port)
	default:
		return name + ":" + port // a Service's address
	}
}

// check tries connections "CLIENT -> SERVER PROTOCOL PORT" until each is as wanted; one that begins with "no" must fail.
func (w *world) check(what, connections string) {
	w.t.Helper()
	for connection := range strings.SplitSeq(connections, ";") {
		connection, deny := strings.CutPrefix(strings.TrimSpace(connection), "no ")
		words := strings.Fields(connection)
		from, to := w.ends[words[0]], w.address(words[2], words[4])
		w.eventually(what+": "+connection, func() error {
			conn, err := dial(from, words[3], to, unanswered)
			if conn != nil {
				defer func() { _ = conn.Close() }()
			}
			switch {
			case deny && err == nil:
				return errors.New("got through")
			case !deny:
				return err
			}
			return nil
		})
	}
}

// kernelCases are the recipes with real sockets.
var kernelCases = []policyCase{
	{"no policy", "", "client -> web tcp 80; office -> web tcp 80; web -> office tcp 80; node -> web tcp 80; other -> web udp 80"},
	{"deny all ingress", "podSelector: {matchLabels: {app: web}}",
		"no client -> web tcp 80; no client -> web udp 80; no office -> web tcp 80; node -> web tcp 80; node -> web udp 80; web -> web tcp 80; web -> db tcp 80; web -> office tcp 80; client -> db tcp 80"},
	{"deny all", "podSelector: {}\npolicyTypes: [Ingress, Egress]",
		"no client -> web tcp 80; no web -> office tcp 80; no web -> other tcp 80; node -> web tcp 80; other -> office udp 80; no office -> db udp 80"},
	{"from pods", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]",
		"client -> web tcp 80; client -> web udp 8080; no db -> web tcp 80; no other -> web tcp 80; no office -> web tcp 80"},
	{"from a namespace", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]",
		"other -> web tcp 80; no client -> web tcp 80"},
	{"both together", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: client}}}]}]",
		"no other -> web tcp 80; no client -> web tcp 80"},
	{"one port", "podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 80}]}]", "client -> web tcp 80; no client -> web tcp 8080; no client -> web udp 80; office -> web tcp 80"},
	{"range of ports", "podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 8000, endPort: 9000}, {protocol: UDP, port: 1, endPort: 100}]}]",
		"client -> web tcp 8080; no client -> web tcp 80; client -> web udp 80; no client -> web udp 8080"},
	{"named port", "podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: http}]}]", "client -> web tcp 80; no client -> web tcp 8080"},
	{"named port of peers", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{to: [{podSelector: {}}], ports: [{port: http}]}]",
		"client -> web tcp 80; no client -> web tcp 8080; no client -> other tcp 80; web -> client tcp 80"},
	{"replies", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Ingress, Egress]\negress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]",
		"client -> web udp 80; client -> web tcp 80; no web -> client udp 80; no web -> client tcp 80"},
	{"addresses", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [{ipBlock: {cidr: 198.51.0.0/16, except: [198.51.101.0/24]}}]}]\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}]}]",
		"office -> web tcp 80; no guest -> web tcp 80; no client -> web tcp 80; no web -> office tcp 80; web -> guest tcp 80; web -> db tcp 80"},
	{"union", "podSelector: {}\n---\npodSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 80}]}]\n---\npodSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]",
		"office -> web tcp 80; db -> web tcp 8080; no client -> web tcp 8080; no web -> db tcp 80"},
	{"none again", "", "client -> web tcp 8080; office -> db udp 8080; web -> office tcp 80"}, // the first needs all to be gone
}

// TestKernelPolicies changes policies while sockets try to get through, in both ways of bridging.
func TestKernelPolicies(t *testing.T) {
	for _, bridging := range []network.Bridging{network.Filtered, network.Routed} {
		t.Run(string(bridging), func(t *testing.T) {
			w := newWorld(t, bridging, false)
			for _, c := range kernelCases {
				w.policies(c.specs)
				w.check(c.what, c.connections)
			}
			w.stop()
			if chains := w.enforcer.book.objects.chains; len(chains) > 0 {
				t.Errorf("chains left without policies: %v", chains)
			}
		})
	}
}

// TestKernelIPv6 does the same where pods have IPv6 addresses; neighbours must find each other all the same.
func TestKernelIPv6(t *testing.T) {
	w := newWorld(t, network.Filtered, true)
	for _, c := range []policyCase{
		{"deny all", "podSelector: {}\npolicyTypes: [Ingress, Egress]", "no client -> web tcp 80; no web -> other udp 80; node -> web tcp 80; web -> web tcp 80"},
		{"from pods", "podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]\negress: [{to: [{ipBlock: {cidr: '::/0', except: ['fd00:10:244::12/128']}}]}]",
			"client -> web tcp 80; no client -> web tcp 8080; no db -> web tcp 80; no client -> db tcp 80"},
		{"none", "", "client -> web tcp 80; other -> web udp 8080"},
	} {
		w.policies(c.specs)
		w.check(c.what, c.connections)
	}
}
