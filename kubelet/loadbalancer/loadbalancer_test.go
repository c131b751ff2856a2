package loadbalancer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wants is a Service of type LoadBalancer with TCP ports, born at a second.
func wants(name string, born int64, ports ...int32) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(born, 0))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: p, Protocol: corev1.ProtocolTCP})
	}
	return s
}

func TestPlan(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")
	class, now := "other", metav1.Now()
	first, second, third, fourth := wants("first", 1, 80, 443), wants("second", 2, 81, 443), wants("third", 3, 81), wants("fourth", 4, 80)
	first.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	fourth.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	third.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	foreign, inside, leaving := wants("foreign", 0, 80), wants("inside", 0, 80), wants("leaving", 0, 80)
	foreign.Spec.LoadBalancerClass, inside.Spec.Type, leaving.DeletionTimestamp = &class, corev1.ServiceTypeNodePort, &now
	stranger := wants("stranger", 0, 80)
	stranger.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "203.0.113.1"}}
	got := Plan([]*corev1.Service{fourth, third, second, first, foreign, inside, leaving, stranger}, []netip.Addr{four, six}, map[string]bool{"192.0.2.1": true})
	var said []string
	for _, w := range got {
		said = append(said, fmt.Sprint(w.Service.Name, " ", w.Addresses, " ", w.Claims, " ", w.Local, " ", strings.Contains(w.Problem, "port 443/TCP of the nodes belongs to the older Service default/first")))
	}
	want := []string{
		"first [192.0.2.1] [{192.0.2.1 TCP 80} {192.0.2.1 TCP 443}] false false",
		"second [192.0.2.1 fd00::1] [] false true",
		"third [192.0.2.1 fd00::1] [{192.0.2.1 TCP 81} {fd00::1 TCP 81}] true false",
		"fourth [fd00::1] [{fd00::1 TCP 80}] false false",
	}
	if strings.Join(said, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s", strings.Join(said, "\n"))
	}
}

func TestPoints(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")}
	nodes := map[string]bool{"192.0.2.1": true, "192.0.2.2": true}
	for name, c := range map[string]struct {
		has  string
		now  []netip.Addr
		want string
	}{
		"new":              {"", own, "192.0.2.1 fd00::1"},
		"beside another's": {"192.0.2.2", own[:1], "192.0.2.1 192.0.2.2"},
		"one that's gone":  {"203.0.113.1", own[:1], "192.0.2.1"},
		"no longer":        {"192.0.2.1 192.0.2.2 fd00:0::1", nil, "192.0.2.2"},
	} {
		var has []corev1.LoadBalancerIngress
		for _, ip := range strings.Fields(c.has) {
			has = append(has, corev1.LoadBalancerIngress{IP: ip})
		}
		points := Points(has, c.now, own, nodes)
		var got []string
		for _, p := range points {
			got = append(got, p.IP)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// balance runs a balancer for a node at the address, beside the objects.
func balance(t *testing.T, at string) (kubernetes.Interface, *record.FakeRecorder) {
	t.Helper()
	client, events := fake.NewClientset(), record.NewFakeRecorder(10)
	factory := informers.NewSharedInformerFactory(client, 0)
	b, err := New(Config{Node: "node", Addresses: []netip.Addr{netip.MustParseAddr(at)}}, Deps{Client: client, Informers: factory, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return client, events
}

// gets waits for the address of a Service.
func gets(t *testing.T, client kubernetes.Interface, name, want string) {
	t.Helper()
	got := "nothing"
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s, err := client.CoreV1().Services("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got = ""
		for _, p := range s.Status.LoadBalancer.Ingress {
			got += p.IP
		}
		if got == want {
			return
		}
	}
	t.Fatalf("%s has %q, want %q", name, got, want)
}

func create(t *testing.T, client kubernetes.Interface, s *corev1.Service) {
	t.Helper()
	if _, err := client.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestPorts: a Service has its ports alone, the next one gets them when it goes, and a program keeps what it has.
func TestPorts(t *testing.T) {
	t.Parallel()
	const at = "127.103.0.1"
	program, err := new(net.ListenConfig).Listen(t.Context(), "tcp", at+":8082")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	client, events := balance(t, at)
	create(t, client, wants("first", 1, 8080))
	gets(t, client, "first", at)
	if l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", at+":8080"); err == nil {
		_ = l.Close()
		t.Error("a program could take the Service's port")
	}
	create(t, client, wants("second", 2, 8080))
	if said := <-events.Events; !strings.Contains(said, "belongs to the older Service default/first") {
		t.Errorf("said %q", said)
	}
	create(t, client, wants("third", 3, 8081, 8082))
	if said := <-events.Events; !strings.Contains(said, "port 8082/TCP of node node is in use") {
		t.Errorf("said %q", said)
	}
	gets(t, client, "second", "")
	if err := client.CoreV1().Services("default").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gets(t, client, "second", at)
	gets(t, client, "third", "")
	_ = program.Close()
	create(t, client, wants("fourth", 4, 8084)) // wakes it before it tries again
	gets(t, client, "third", at)
}

// TestLocal gives an address only while a pod of the Service is on the node.
func TestLocal(t *testing.T) {
	t.Parallel()
	const at = "127.103.0.2"
	client, _ := balance(t, at)
	local := wants("local", 1, 8080)
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	create(t, client, local)
	create(t, client, wants("other", 2, 8081))
	gets(t, client, "other", at)
	gets(t, client, "local", "")
	node := "node"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: "local"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, NodeName: &node}},
	}
	if _, err := client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	gets(t, client, "local", at)
	if err := client.DiscoveryV1().EndpointSlices("default").Delete(t.Context(), "s", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gets(t, client, "local", "")
}

// TestStranger leaves a Service alone that another balancer gave an address.
func TestStranger(t *testing.T) {
	t.Parallel()
	const at = "127.103.0.3"
	client, _ := balance(t, at)
	taken := wants("taken", 1, 8080)
	taken.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}
	create(t, client, taken)
	create(t, client, wants("other", 2, 8081))
	gets(t, client, "other", at)
	gets(t, client, "taken", "203.0.113.1")
}

// TestFormerAddress: a node that has another address since its start gives that one to the Services that had the former one
// of it; what others wrote stays.
func TestFormerAddress(t *testing.T) {
	t.Parallel()
	const at, before = "127.103.0.4", "203.0.113.7"
	service := func(name string, born int64, port int32, manager, ip string) *corev1.Service {
		s := wants(name, born, port)
		s.ResourceVersion = "1"
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager, Subresource: "status"}}
		return s
	}
	own, others := service("own", 1, 8080, Component, before), service("others", 2, 8081, "other", "203.0.113.8")
	client := fake.NewClientset()
	for _, s := range []*corev1.Service{own, others} { // the tracker keeps no managers of statuses
		client.PrependReactor("get", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
			get, ok := action.(clienttesting.GetAction)
			return ok && get.GetName() == s.Name, s, nil
		})
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	b, err := New(Config{Node: "node", Addresses: []netip.Addr{netip.MustParseAddr(at)}}, Deps{Client: client, Informers: factory, Events: record.NewFakeRecorder(10)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.ports.close()
	for _, s := range []*corev1.Service{own, others} {
		if err := factory.Core().V1().Services().Informer().GetStore().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		b.sync(t.Context())
	}
	var wrote []string
	asked := map[string]int{}
	for _, action := range client.Actions() {
		switch action := action.(type) {
		case clienttesting.UpdateAction:
			s, ok := action.GetObject().(*corev1.Service)
			if !ok {
				t.Fatalf("wrote %v", action.GetObject())
			}
			wrote = append(wrote, fmt.Sprint(s.Name, " ", s.Status.LoadBalancer.Ingress[0].IP))
		case clienttesting.GetAction:
			asked[action.GetName()]++
		}
	}
	if len(wrote) == 0 || wrote[0] != "own "+at || slices.Contains(wrote, "others "+at) {
		t.Errorf("wrote %q", wrote)
	}
	if asked["own"] != 1 || asked["others"] != 1 {
		t.Errorf("asked %v times, want once each", asked)
	}
}

// TestNodeMoves takes an address away when a node has another.
func TestNodeMoves(t *testing.T) {
	t.Parallel()
	const at, before = "127.103.0.6", "203.0.113.9"
	client, _ := balance(t, at)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: before}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := wants("s", 1, 8080)
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: before}}
	create(t, client, s)
	gets(t, client, "s", at+before)
	node.Status.Addresses[0].Address = at
	if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	gets(t, client, "s", at)
}
