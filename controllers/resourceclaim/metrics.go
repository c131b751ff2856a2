package resourceclaim

import (
	"strconv"
	"sync"
	"sync/atomic"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	claimmetrics "k8s.io/dynamic-resource-allocation/resourceclaim/metrics"
)

// collector counts the claims when somebody reads the metrics.
type collector struct {
	metrics.BaseStableCollector
	desc   *metrics.Desc
	lister atomic.Value // of resourcelisters.ResourceClaimLister
}

// The registry belongs to the process: of several servers in one, the last one's claims are counted.
var (
	claimCount = &collector{desc: metrics.NewDesc("dynamic_resource_allocation_resource_claims",
		"Number of ResourceClaims, by whether they are allocated, have admin access, and what they were made from: resource_claim_template, extended_resource, or nothing",
		[]string{"allocated", "admin_access", "source"}, nil, metrics.ALPHA, "")}
	register = sync.OnceFunc(func() { legacyregistry.CustomMustRegister(claimCount) })
)

// held gives atomic.Value one type for whatever lister there is.
type held struct {
	resourcelisters.ResourceClaimLister
}

func registerMetrics(claims resourcelisters.ResourceClaimLister) {
	claimCount.lister.Store(held{claims})
	register()
	claimmetrics.RegisterMetrics()
}

// DescribeWithStability implements metrics.StableCollector.
func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- c.desc }

// CollectWithStability implements metrics.StableCollector.
func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	lister, ok := c.lister.Load().(held)
	if !ok {
		return
	}
	claims, err := lister.List(labels.Everything())
	if err != nil {
		return
	}
	for l, n := range count(claims) {
		ch <- metrics.NewLazyConstMetric(c.desc, metrics.GaugeValue, float64(n), l[:]...)
	}
}

// count answers the number of claims by allocated, admin_access and source.
func count(claims []*resourcev1.ResourceClaim) map[[3]string]int {
	all := map[[3]string]int{}
	for _, c := range claims {
		all[[3]string{strconv.FormatBool(c.Status.Allocation != nil), adminAccess(c), source(c)}]++
	}
	return all
}

func adminAccess(claim *resourcev1.ResourceClaim) string {
	for _, request := range claim.Spec.Devices.Requests {
		if request.Exactly != nil && request.Exactly.AdminAccess != nil && *request.Exactly.AdminAccess {
			return "true"
		}
	}
	return "false"
}

func source(claim *resourcev1.ResourceClaim) string {
	switch {
	case claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] == "true":
		return "extended_resource"
	case claim.Annotations[resourcev1.PodResourceClaimAnnotation] != "":
		return "resource_claim_template"
	}
	return ""
}
