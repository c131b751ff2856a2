package core

import (
	"net/netip"
	"sync"
	"sync/atomic"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// What the allocators count, under upstream's names. The registry belongs to
// the process, and so do these.
var (
	addressAllocations = counter(addressAllocator, "allocation_total", "Number of cluster IPs allocated", "cidr", "scope")
	addressErrors      = counter(addressAllocator, "allocation_errors_total", "Number of cluster IPs that could not be allocated", "cidr", "scope")
	addressRepaired    = counter(repairsAddresses, "ip_errors_total", "Number of errors that the repair of cluster IPs found, by type: leak, repair, outOfRange, duplicate, invalid", "type")
	addressRepairFails = counter(repairsAddresses, "reconcile_errors_total", "Number of failed repairs of cluster IPs")
	addressSeconds     = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem: addressAllocator, Name: "allocation_duration_seconds",
		Help: "How long the allocation of a cluster IP takes", Buckets: metrics.DefBuckets, StabilityLevel: metrics.ALPHA,
	}, []string{"cidr"})
	portAllocations = counter(portAllocator, "allocation_total", "Number of node ports allocated", "scope")
	portErrors      = counter(portAllocator, "allocation_errors_total", "Number of node ports that could not be allocated", "scope")
	portRepaired    = counter(repairsPorts, "port_errors_total", "Number of errors that the repair of node ports found, by type: leak, repair, outOfRange, duplicate", "type")
	portRepairFails = counter(repairsPorts, "reconcile_errors_total", "Number of failed repairs of node ports")
	portsAllocated  = gauge("allocated_ports", "Number of allocated node ports")
	portsAvailable  = gauge("available_ports", "Number of free node ports")

	addressUse = &addressCollector{
		allocated: metrics.NewDesc(addressAllocator+"_allocated_ips", "Number of allocated cluster IPs", []string{"cidr"}, nil, metrics.ALPHA, ""),
		available: metrics.NewDesc(addressAllocator+"_available_ips", "Number of free cluster IPs", []string{"cidr"}, nil, metrics.ALPHA, ""),
	}
	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(
			addressAllocations, addressErrors, addressRepaired, addressRepairFails, addressSeconds,
			portAllocations, portErrors, portRepaired, portRepairFails, portsAllocated, portsAvailable,
		)
		legacyregistry.CustomMustRegister(addressUse)
		addressRepairFails.WithLabelValues() // shown as 0 from the start
		portRepairFails.WithLabelValues()
	})
)

// The allocators' names begin as the program's, the repair's as the library's.
const (
	addressAllocator = "kube_apiserver_clusterip_allocator"
	repairsAddresses = "apiserver_clusterip_repair"
	portAllocator    = "kube_apiserver_nodeport_allocator"
	repairsPorts     = "apiserver_nodeport_repair"
)

func counter(subsystem, name, help string, labels ...string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA,
	}, labels)
}

func gauge(name, help string) *metrics.Gauge {
	return metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem: portAllocator, Name: name, Help: help, StabilityLevel: metrics.ALPHA,
	})
}

// addressCollector counts addresses when it is asked, not at each allocation.
type addressCollector struct {
	metrics.BaseStableCollector
	allocated, available *metrics.Desc
	current              atomic.Pointer[addresses]
}

// DescribeWithStability implements metrics.StableCollector.
func (c *addressCollector) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- c.allocated
	ch <- c.available
}

// CollectWithStability implements metrics.StableCollector.
func (c *addressCollector) CollectWithStability(ch chan<- metrics.Metric) {
	a := c.current.Load()
	if a == nil {
		return
	}
	for prefix, use := range a.use() {
		ch <- metrics.NewLazyConstMetric(c.allocated, metrics.GaugeValue, float64(use.taken), prefix)
		ch <- metrics.NewLazyConstMetric(c.available, metrics.GaugeValue, use.free, prefix)
	}
}

type rangeUse struct {
	taken int
	free  float64
}

// use counts what the caches show, by range.
func (a *addresses) use() map[string]rangeUse {
	if !a.cidrs.synced() || !a.taken.synced() {
		return nil
	}
	cidrs, err1 := a.cidrs.lister.List(labels.Everything())
	taken, err2 := a.taken.lister.List(labels.SelectorFromSet(labels.Set{networkingv1.LabelManagedBy: addressManager}))
	if err1 != nil || err2 != nil {
		return nil
	}
	out := map[string]rangeUse{}
	for _, r := range readyRanges(cidrs, a.configured) {
		n := 0
		for _, t := range taken {
			if ip, err := netip.ParseAddr(t.Name); err == nil && r.prefix.Contains(ip) {
				n++
			}
		}
		out[r.prefix.String()] = rangeUse{n, max(0, float64(r.size)-float64(n))}
	}
	return out
}
