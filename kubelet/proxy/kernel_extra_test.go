package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/kubelet/network"
	"skiff/kubelet/network/nstest"
	"skiff/kubelet/nft"
)

// TestKernelDualStack runs both families' tables and a Service with an address of each.
func TestKernelDualStack(t *testing.T) {
	nstest.Need(t)
	w := &world{t: t, client: fake.NewClientset(), pods: map[string]*nstest.Namespace{}}
	w.net = network.Config{
		Name: "test6", BridgeName: "sk-test6",
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.245.0.0/24"), netip.MustParsePrefix("fd00:10:245::/64")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.245.0.0/16"), netip.MustParsePrefix("fd00:10:245::/56")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.97.0.0/16"), netip.MustParsePrefix("fd00:10:97::/112")},
		CNIConfDir:   t.TempDir(), IPAMDir: t.TempDir(),
	}
	w.config = Config{
		Table: "skiff-test6", NodeName: testNode, NodeIPs: []netip.Addr{netip.MustParseAddr("fd00:10:245::1")},
		ServiceCIDRs: w.net.ServiceCIDRs, ClusterCIDRs: w.net.ClusterCIDRs,
	}
	w.lay()
	for i, name := range []string{"a", "b"} {
		pod := nstest.New(t, name)
		pod.Attach(t, nstest.Port{
			Bridge: w.net.BridgeName, Addr: netip.MustParsePrefix(fmt.Sprintf("fd00:10:245::%d/64", 11+i)),
			Gateway: netip.MustParseAddr("fd00:10:245::1"), Hairpin: true,
		})
		pod.Serve(t, 8080)
		w.pods[name] = pod
	}
	w.run()
	svc := service("web", "10.97.0.100", nodePort(tcp(80), 30080), udp(80))
	svc.Spec.ClusterIPs = []string{"10.97.0.100", "fd00:10:97::100"}
	w.apply(svc, slice("web", 8080, "fd00:10:245::11", "fd00:10:245::12"))
	for _, proto := range []string{"tcp", "udp"} {
		w.reaches(w.pods["a"], proto, "[fd00:10:97::100]:80", "a", "b")
		w.reaches(nil, proto, "[fd00:10:97::100]:80", "a", "b")
	}
	w.reaches(w.pods["a"], "tcp", "[fd00:10:245::1]:30080", "a", "b")
	w.refused(w.pods["a"], "tcp", "[fd00:10:97::100]:81")
	w.refused(nil, "tcp", "10.97.0.100:80") // no endpoints of this family
}

func TestKernelHealthCheck(t *testing.T) {
	w := newWorld(t, network.Filtered)
	svc := service("web", "10.96.0.100", nodePort(tcp(80), 30080))
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	svc.Spec.HealthCheckNodePort = 31234
	says := func(status int, body string) func() error {
		return func() error {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Get("http://198.51.100.1:31234/healthz")
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != status || string(got) != body+"\n" {
				return fmt.Errorf("%d %s: %w", resp.StatusCode, got, err)
			}
			return nil
		}
	}
	const body = `{"service":{"namespace":"default","name":"web"},"localEndpoints":%d,"serviceProxyHealthy":true}`
	w.apply(svc, slice("web", 8080, "10.244.0.11", "10.244.0.12", "10.244.0.13 elsewhere"))
	w.eventually("two endpoints here", says(http.StatusOK, fmt.Sprintf(body, 2)))
	w.apply(slice("web", 8080, "10.244.0.13 elsewhere"))
	w.eventually("none here", says(http.StatusServiceUnavailable, fmt.Sprintf(body, 0)))
	svc = svc.DeepCopy()
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	w.apply(svc)
	w.eventually("no health check any more", func() error {
		if says(0, "")() == nil {
			return fmt.Errorf("still there")
		}
		if _, err := http.Get("http://198.51.100.1:31234/healthz"); err == nil {
			return fmt.Errorf("still answers")
		}
		return nil
	})
}

// TestRunEndsCleanly: Run leaves no goroutine, and the tables in place; two proxies side by side don't meet.
func TestRunEndsCleanly(t *testing.T) {
	nstest.Need(t)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	var factories []informers.SharedInformerFactory
	for _, table := range []string{"side-a", "side-b"} {
		config := testConfig()
		config.Table, config.RepairPeriod = table, 5*time.Millisecond
		factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
		proxy, err := New(config, Deps{Informers: factory})
		if err != nil {
			t.Fatal(err)
		}
		factory.Start(ctx.Done())
		factories = append(factories, factory)
		done.Go(func() {
			if err := proxy.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		<-proxy.Ready()
	}
	first, err := nft.Handle(nft.IPv4, "side-a")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // some rounds of looking for damage
	if again, err := nft.Handle(nft.IPv4, "side-a"); err != nil || again != first {
		t.Errorf("a table was made anew because of its neighbour: %v", err)
	}
	cancel()
	done.Wait()
	for _, f := range factories {
		f.Shutdown()
	}
	goleak.VerifyNone(t, before)
	for _, table := range []string{"side-a", "side-b"} {
		if handle, err := nft.Handle(nft.IPv4, table); err != nil || handle == 0 {
			t.Errorf("%s: the table must outlive Run: %v", table, err)
		}
		if err := Cleanup(table); err != nil {
			t.Error(err)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := testConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no table": func(c *Config) { c.Table = "" },
		"bad name": func(c *Config) { c.Table = "a b" },
		"no node":  func(c *Config) { c.NodeName = "" },
		"no range": func(c *Config) { c.ServiceCIDRs = nil },
		"overlap":  func(c *Config) { c.ClusterCIDRs = c.ServiceCIDRs },
	} {
		c := testConfig()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
