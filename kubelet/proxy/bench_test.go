package proxy

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/kubelet/network/nstest"
	"skiff/kubelet/nft"
)

func manyService(i int) (*corev1.Service, *discoveryv1.EndpointSlice) {
	name := fmt.Sprintf("svc-%d", i)
	svc := service(name, fmt.Sprintf("10.96.%d.%d", i/250+1, i%250+1), tcp(80))
	end := func(n int) string { return fmt.Sprintf("10.%d.%d.%d", 244+n, i/250, i%250+1) }
	return svc, slice(name, 8080, end(0), end(1), end(2))
}

// loaded is a planned state of n Services with three endpoints each.
func loaded(n int) *nft.State[Value] {
	s := nft.NewState[Value]()
	for i := range n {
		svc, eps := manyService(i)
		s.Put(svc.Name, testPlanner().Service(svc, []*discoveryv1.EndpointSlice{eps}, s.Value))
	}
	return s
}

func sizes(b *testing.B, bench func(b *testing.B, n int)) {
	nstest.Need(b)
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bench(b, n)
			if err := Cleanup("bench"); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkPlan plans every Service.
func BenchmarkPlan(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		for b.Loop() {
			loaded(n)
		}
	})
}

// BenchmarkReplace makes the whole table anew in the kernel.
func BenchmarkReplace(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		k, content := newKernel("bench", []nft.Family{nft.IPv4}), loaded(n).Content()
		for b.Loop() {
			if err := k.replace(testConfig().fixed(), content); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEndpointChange plans one Service whose endpoint changed and brings that to the kernel.
func BenchmarkEndpointChange(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		k, s := newKernel("bench", []nft.Family{nft.IPv4}), loaded(n)
		if err := k.replace(testConfig().fixed(), s.Content()); err != nil {
			b.Fatal(err)
		}
		s.Committed()
		svc, _ := manyService(n / 2)
		i := 0
		for b.Loop() {
			i++
			settle(b)
			eps := slice(svc.Name, 8080, "10.244.3.1", "10.244.3.2", fmt.Sprintf("10.244.4.%d", i%200+1))
			s.Put(svc.Name, testPlanner().Service(svc, []*discoveryv1.EndpointSlice{eps}, s.Value))
			if err := k.update(s.Changes()); err != nil {
				b.Fatal(err)
			}
			s.Committed()
		}
	})
}

// settle lets the kernel finish what it put off: it frees removed elements after the transaction, and the next removal
// waits for that. It takes a grace period of RCU, whatever the size of the table.
func settle(b *testing.B) {
	b.StopTimer()
	time.Sleep(30 * time.Millisecond)
	b.StartTimer()
}

// BenchmarkEventToKernel is what a client of the API sees: from an EndpointSlice's update to the rule in the kernel.
func BenchmarkEventToKernel(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		client := fake.NewClientset()
		for i := range n {
			svc, eps := manyService(i)
			if err := client.Tracker().Add(svc); err != nil {
				b.Fatal(err)
			}
			if err := client.Tracker().Add(eps); err != nil {
				b.Fatal(err)
			}
		}
		factory := informers.NewSharedInformerFactory(client, 0)
		config := testConfig()
		config.Table = "bench"
		proxy, err := New(config, Deps{Informers: factory})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		var done sync.WaitGroup
		done.Go(func() { _ = proxy.Run(ctx) })
		<-proxy.Ready()
		took := time.Since(start)
		runtime.GC()
		runtime.ReadMemStats(&after)
		svc, _ := manyService(n / 2)
		api := client.DiscoveryV1().EndpointSlices("default")
		i := 0
		for b.Loop() {
			i++
			settle(b)
			generation, err := nft.Generation()
			if err != nil {
				b.Fatal(err)
			}
			eps := slice(svc.Name, 8080, fmt.Sprintf("10.244.4.%d", i%200+1))
			if _, err := api.Update(ctx, eps, metav1.UpdateOptions{}); err != nil {
				b.Fatal(err)
			}
			for now := generation; now == generation; {
				if now, err = nft.Generation(); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(took.Milliseconds()), "start-ms")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "heap-MB")
		cancel()
		done.Wait()
		factory.Shutdown()
	})
}
