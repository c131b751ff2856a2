package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

// gauge is how many connections a listener holds.
func (p *Proxy) gauge(listener string) (float64, error) {
	return testutil.GetGaugeMetricValue(p.metrics.connections.WithLabelValues(listener))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	p, err := New(Default(), Deps{Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Proxy: p}
	r.listen(t)
	client := r.client(t)
	do(t, client, request(t, http.MethodGet, "http://a.test/", nil))
	do(t, client, request(t, "BREW", "http://a.test/", nil))
	eventually(t, "requests to be counted", func() error {
		err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP ingress_requests_total [ALPHA] Number of requests to the ingress, by method and class of status
# TYPE ingress_requests_total counter
ingress_requests_total{code="4xx",method="GET"} 1
ingress_requests_total{code="4xx",method="other"} 1
`), "ingress_requests_total")
		if err != nil {
			return fmt.Errorf("counted: %w", err)
		}
		return nil
	})
	if n, err := p.gauge("http"); err != nil || n != 1 {
		t.Errorf("%v connections (%v)", n, err)
	}
}
