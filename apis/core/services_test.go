package core_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"skiff/test/env"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func start(t *testing.T, o env.Options) kubernetes.Interface {
	t.Helper()
	return kubernetes.NewForConfigOrDie(env.Start(t, o).Admin())
}

// parents maps every allocated address to the Service that has it.
func parents(t *testing.T, c kubernetes.Interface) map[string]string {
	t.Helper()
	list, err := c.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{LabelSelector: "ipaddress.kubernetes.io/managed-by=ipallocator.k8s.io"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, a := range list.Items {
		if p := a.Spec.ParentRef; p.Resource != "services" || p.Group != "" || a.Labels["ipaddress.kubernetes.io/ip-family"] == "" {
			t.Errorf("%s: %+v, %v", a.Name, p, a.Labels)
		}
		out[a.Name] = a.Spec.ParentRef.Namespace + "/" + a.Spec.ParentRef.Name
	}
	return out
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return f(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestDefaultServiceCIDR(t *testing.T) {
	c := start(t, env.Options{ServiceCIDRs: prefixes("10.96.0.0/16", "fd00:10:96::/112")})
	got, err := c.NetworkingV1().ServiceCIDRs().Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := meta.FindStatusCondition(got.Status.Conditions, "Ready")
	if !slices.Equal(got.Spec.CIDRs, []string{"10.96.0.0/16", "fd00:10:96::/112"}) || ready == nil || ready.Status != "True" || ready.Message != "Kubernetes default Service CIDR is ready" {
		t.Errorf("got %v, %+v", got.Spec, got.Status)
	}
	if p := parents(t, c); p["10.96.0.1"] != "default/kubernetes" {
		t.Errorf("got %v", p)
	}
}

// TestServiceAddressLifecycle follows the objects behind a Service's addresses.
func TestServiceAddressLifecycle(t *testing.T) {
	c, ctx := start(t, env.Options{}), t.Context()
	svcs := c.CoreV1().Services("default")
	s, err := svcs.Create(ctx, service("s", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p := parents(t, c); p[s.Spec.ClusterIP] != "default/s" {
		t.Fatalf("%s is not allocated: %v", s.Spec.ClusterIP, p)
	}
	before := parents(t, c)
	if _, err := svcs.Create(ctx, service("dry", corev1.ServiceTypeNodePort), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Error(err)
	}
	bad := service("bad", corev1.ServiceTypeNodePort)
	bad.Spec.Ports[0].Protocol = "x"
	if _, err := svcs.Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want Invalid", err)
	}
	if _, err := svcs.Create(ctx, service("s", corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("got %v, want AlreadyExists", err)
	}
	if after := parents(t, c); len(after) != len(before) {
		t.Errorf("what was not created left %v, was %v", after, before)
	}
	ip, port := s.Spec.ClusterIP, s.Spec.Ports[0].NodePort
	s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com", Ports: s.Spec.Ports, ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: s.Spec.IPFamilies, IPFamilyPolicy: s.Spec.IPFamilyPolicy}
	if s, err = svcs.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if s.Spec.ClusterIP != "" || s.Spec.ClusterIPs != nil || s.Spec.IPFamilies != nil || s.Spec.Ports[0].NodePort != 0 || parents(t, c)[ip] != "" {
		t.Errorf("an ExternalName keeps %+v, %v", s.Spec, parents(t, c))
	}
	s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIP, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, "", ip, port
	if s, err = svcs.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("taking again what was freed: %v", err)
	}
	if s.Spec.ClusterIP != ip || parents(t, c)[ip] != "default/s" {
		t.Errorf("got %s, %v", s.Spec.ClusterIP, parents(t, c))
	}
	if err := svcs.Delete(ctx, "s", metav1.DeleteOptions{}); err != nil || parents(t, c)[ip] != "" {
		t.Errorf("after the delete: %v, %v", parents(t, c), err)
	}
}

// TestExternalNameNamesAddress changes the type and the address in one update:
// the address is the user's wish, and such a Service has none.
func TestExternalNameNamesAddress(t *testing.T) {
	c, ctx := start(t, env.Options{}), t.Context()
	svcs := c.CoreV1().Services("default")
	s, err := svcs.Create(ctx, service("s", corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patch := `{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":"10.96.9.9"}}`
	_, err = svcs.Patch(ctx, "s", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.clusterIPs: Forbidden: may not be set for ExternalName services") {
		t.Errorf("another address: %v", err)
	}
	patch = `{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":""}}`
	if s, err = svcs.Patch(ctx, "s", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err == nil && s.Spec.ClusterIP != "" {
		t.Errorf("no address: %+v", s.Spec)
	} else if err != nil {
		t.Errorf("no address: %v", err)
	}
}

// TestServersShareAStore lets two servers on one store hand out a small range
// and few ports until nothing is left.
func TestServersShareAStore(t *testing.T) {
	o := env.Options{ServiceCIDRs: prefixes("10.7.0.0/27"), NodePorts: utilnet.PortRange{Base: 31000, Size: 40}}
	first := env.Start(t, o)
	o.Beside = first
	second := env.Start(t, o)
	clients := []kubernetes.Interface{kubernetes.NewForConfigOrDie(first.Admin()), kubernetes.NewForConfigOrDie(second.Admin())}
	ctx, got := t.Context(), sync.Map{}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			s, err := clients[i%2].CoreV1().Services("default").Create(ctx, service(fmt.Sprintf("s%d", i), corev1.ServiceTypeNodePort), metav1.CreateOptions{})
			if err != nil {
				if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "range is full") {
					t.Error(err)
				}
				return
			}
			for _, k := range []string{s.Spec.ClusterIP, fmt.Sprint(s.Spec.Ports[0].NodePort)} {
				if other, twice := got.LoadOrStore(k, s.Name); twice {
					t.Errorf("%s: %v and %s", k, other, s.Name)
				}
			}
		})
	}
	wg.Wait()
	if p := parents(t, clients[0]); len(p) != 30 {
		t.Errorf("%d addresses of 30 are allocated: %v", len(p), p)
	}
}

func TestServiceCIDRs(t *testing.T) {
	c, ctx := start(t, env.Options{ServiceCIDRs: prefixes("10.7.0.0/30")}), t.Context()
	svcs, cidrs := c.CoreV1().Services("default"), c.NetworkingV1().ServiceCIDRs()
	if _, err := svcs.Create(ctx, service("a", corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := svcs.Create(ctx, service("b", corev1.ServiceTypeClusterIP), metav1.CreateOptions{}); !apierrors.IsInternalError(err) {
		t.Fatalf("beyond the range: %v", err)
	}
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.8.0.0/24"}}}
	if _, err := cidrs.Create(ctx, more, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var b *corev1.Service
	eventually(t, "an address of the new range", func() (ok bool) {
		var err error
		b, err = svcs.Create(ctx, service("b", corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
		return err == nil
	})
	if !netip.MustParsePrefix("10.8.0.0/24").Contains(netip.MustParseAddr(b.Spec.ClusterIP)) {
		t.Errorf("got %s", b.Spec.ClusterIP)
	}
	for ip, want := range map[string]string{
		"10.9.0.1":       "failed to allocate IP 10.9.0.1: the provided network does not match the current range",
		"10.8.0.0":       "failed to allocate IP 10.8.0.0: the provided network does not match the current range",
		b.Spec.ClusterIP: "provided IP is already allocated",
	} {
		s := service("named", corev1.ServiceTypeClusterIP)
		s.Spec.ClusterIP = ip
		if _, err := svcs.Create(ctx, s, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", ip, err, want)
		}
	}
	s := service("named", corev1.ServiceTypeClusterIP)
	s.Spec.ClusterIP = "10.9.0.1"
	if _, err := svcs.Create(ctx, s, metav1.CreateOptions{DryRun: []string{"All"}}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "The range of valid IPs is 10.7.0.0/30") {
		t.Errorf("dry run: %v", err)
	}
}

func TestNodePorts(t *testing.T) {
	c, ctx := start(t, env.Options{NodePorts: utilnet.PortRange{Base: 31000, Size: 3}}), t.Context()
	svcs := c.CoreV1().Services("default")
	local := service("lb", corev1.ServiceTypeLoadBalancer)
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	local.Spec.Ports = []corev1.ServicePort{{Name: "t", Port: 53, Protocol: "TCP"}, {Name: "u", Port: 53, Protocol: "UDP"}}
	s, err := svcs.Create(ctx, local, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Spec.HealthCheckNodePort == 0 || s.Spec.Ports[0].NodePort != s.Spec.Ports[1].NodePort || s.Spec.HealthCheckNodePort == s.Spec.Ports[0].NodePort {
		t.Errorf("got %+v, health %d", s.Spec.Ports, s.Spec.HealthCheckNodePort)
	}
	outside, taken := service("x", corev1.ServiceTypeNodePort), service("x", corev1.ServiceTypeNodePort)
	outside.Spec.Ports[0].NodePort, taken.Spec.Ports[0].NodePort = 30999, s.Spec.HealthCheckNodePort
	for want, svc := range map[string]*corev1.Service{
		"provided port is not in the valid range. The range of valid ports is 31000-31002":                                          outside,
		"spec.ports[0].nodePort: Invalid value: " + fmt.Sprint(s.Spec.HealthCheckNodePort) + ": provided port is already allocated": taken,
	} {
		if _, err := svcs.Create(ctx, svc, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := svcs.Create(ctx, taken, metav1.CreateOptions{DryRun: []string{"All"}}); !apierrors.IsInvalid(err) {
		t.Errorf("dry run with a taken port: %v", err)
	}
	if _, err := svcs.Create(ctx, service("last", corev1.ServiceTypeNodePort), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := svcs.Create(ctx, service("none", corev1.ServiceTypeNodePort), metav1.CreateOptions{}); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "failed to allocate a nodePort: range is full") {
		t.Errorf("beyond the range: %v", err)
	}
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	if s, err = svcs.Update(ctx, s, metav1.UpdateOptions{}); err != nil || s.Spec.HealthCheckNodePort != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := svcs.Create(ctx, service("now", corev1.ServiceTypeNodePort), metav1.CreateOptions{}); err != nil {
		t.Errorf("the health check's port is not free: %v", err)
	}
}

// TestRepair takes away what belongs to Services and waits until it is back.
func TestRepair(t *testing.T) {
	c, ctx := start(t, env.Options{RepairEvery: 20 * time.Millisecond}), t.Context()
	s, err := c.CoreV1().Services("default").Create(ctx, service("s", corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ips := c.NetworkingV1().IPAddresses()
	if err := ips.Delete(ctx, s.Spec.ClusterIP, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address", func() bool { return parents(t, c)[s.Spec.ClusterIP] == "default/s" })
	eventually(t, "the event", func() bool {
		l, err := c.EventsV1().Events("default").List(ctx, metav1.ListOptions{})
		println("EV", len(l.Items), err != nil)
		for _, e := range l.Items {
			println("EV", e.Reason, e.ReportingController, e.Regarding.Name, e.Note)
		}
		return err == nil && slices.ContainsFunc(l.Items, func(e eventsv1.Event) bool {
			return e.Reason == "ClusterIPNotAllocated" && e.Regarding.Name == "s" && e.ReportingController == "ipallocator-repair-controller"
		})
	})
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		a, err := ips.Get(ctx, s.Spec.ClusterIP, metav1.GetOptions{})
		if err != nil {
			return err
		}
		delete(a.Labels, networkingv1.LabelManagedBy)
		_, err = ips.Update(ctx, a, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the label", func() bool { return parents(t, c)[s.Spec.ClusterIP] == "default/s" })
}

func TestDualStackServices(t *testing.T) {
	type fams = []corev1.IPFamily
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	single, prefer, require := ptr.To(corev1.IPFamilyPolicySingleStack), ptr.To(corev1.IPFamilyPolicyPreferDualStack), ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	two := start(t, env.Options{ServiceCIDRs: prefixes("10.96.0.0/16", "fd00:10:96::/112")})
	one := start(t, env.Options{})
	for i, tt := range []struct {
		name     string
		client   kubernetes.Interface
		policy   *corev1.IPFamilyPolicy
		families fams
		ips      []string
		selector map[string]string
		want     fams
		policyIs corev1.IPFamilyPolicy
		err      string
	}{
		{name: "nothing asked", client: two, want: fams{v4}, policyIs: *single},
		{name: "the other family", client: two, families: fams{v6}, want: fams{v6}, policyIs: *single},
		{name: "prefer", client: two, policy: prefer, want: fams{v4, v6}, policyIs: *prefer},
		{name: "prefer, other first", client: two, policy: prefer, families: fams{v6}, want: fams{v6, v4}, policyIs: *prefer},
		{name: "require", client: two, policy: require, families: fams{v6, v4}, want: fams{v6, v4}, policyIs: *require},
		{name: "by address", client: two, ips: []string{"fd00:10:96::77"}, want: fams{v6}, policyIs: *single},
		{name: "by two addresses", client: two, policy: require, ips: []string{"10.96.7.7", "fd00:10:96::78"}, want: fams{v4, v6}, policyIs: *require},
		{name: "two families, one asked", client: two, policy: single, families: fams{v4, v6}, err: "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
		{name: "two addresses, nothing asked", client: two, ips: []string{"10.96.7.8", "fd00:10:96::79"}, err: "when multiple cluster IPs are specified"},
		{name: "headless with selector", client: two, policy: prefer, ips: []string{"None"}, selector: map[string]string{"a": "b"}, want: fams{v4, v6}, policyIs: *prefer},
		{name: "headless without selector", client: two, ips: []string{"None"}, want: fams{v4, v6}, policyIs: *require},
		{name: "prefer where there is one", client: one, policy: prefer, want: fams{v4}, policyIs: *prefer},
		{name: "require where there is one", client: one, policy: require, err: "this cluster is not configured for dual-stack services"},
		{name: "missing family", client: one, families: fams{v6}, err: "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"},
		{name: "address of a missing family", client: one, ips: []string{"fd00::5"}, err: "IPv6 is not configured on this cluster"},
		{name: "headless without selector where there is one", client: one, ips: []string{"None"}, want: fams{v4, v6}, policyIs: *require},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := service(fmt.Sprintf("s%d", i), corev1.ServiceTypeClusterIP)
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies, s.Spec.ClusterIPs, s.Spec.Selector = tt.policy, tt.families, tt.ips, tt.selector
			if len(tt.ips) > 0 {
				s.Spec.ClusterIP = tt.ips[0]
			}
			s, err := tt.client.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{})
			if tt.err != "" {
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.Spec.IPFamilies, tt.want) || *s.Spec.IPFamilyPolicy != tt.policyIs || s.Spec.ClusterIP != s.Spec.ClusterIPs[0] {
				t.Errorf("got %v, %s, %v", s.Spec.IPFamilies, *s.Spec.IPFamilyPolicy, s.Spec.ClusterIPs)
			}
			if err := addressesFit(s, parents(t, tt.client)); err != nil {
				t.Error(err)
			}
		})
	}
}

// addressesFit checks that the Service holds one address of each of its families.
func addressesFit(s *corev1.Service, parents map[string]string) error {
	if s.Spec.ClusterIP == "None" {
		return nil
	}
	if len(s.Spec.ClusterIPs) != len(s.Spec.IPFamilies) {
		return errors.New("addresses and families differ in number")
	}
	for i, ip := range s.Spec.ClusterIPs {
		if netip.MustParseAddr(ip).Is4() != (s.Spec.IPFamilies[i] == corev1.IPv4Protocol) || parents[ip] != s.Namespace+"/"+s.Name {
			return fmt.Errorf("%s is not an allocated address of %s: %v", ip, s.Spec.IPFamilies[i], parents[ip])
		}
	}
	return nil
}

// TestDualStackChanges gives a Service its second family and takes it again.
func TestDualStackChanges(t *testing.T) {
	c, ctx := start(t, env.Options{ServiceCIDRs: prefixes("10.96.0.0/16", "fd00:10:96::/112")}), t.Context()
	svcs := c.CoreV1().Services("default")
	s, err := svcs.Create(ctx, service("s", corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Spec.ClusterIP
	s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack)
	if s, err = svcs.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(s.Spec.ClusterIPs) != 2 || s.Spec.ClusterIP != first {
		t.Fatalf("upgraded: %+v", s.Spec)
	}
	if err := addressesFit(s, parents(t, c)); err != nil {
		t.Error(err)
	}
	second := s.Spec.ClusterIPs[1]
	less := s.DeepCopy()
	less.Spec.ClusterIPs = less.Spec.ClusterIPs[:1]
	if _, err := svcs.Update(ctx, less, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "must be 'SingleStack' to release the secondary cluster IP") {
		t.Errorf("an address less: %v", err)
	}
	s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	if s, err = svcs.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Spec.ClusterIPs, []string{first}) || len(s.Spec.IPFamilies) != 1 || parents(t, c)[second] != "" || parents(t, c)[first] != "default/s" {
		t.Errorf("downgraded: %+v, %v", s.Spec, parents(t, c))
	}
}
