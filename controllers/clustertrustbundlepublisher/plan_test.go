package clustertrustbundlepublisher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

func TestName(t *testing.T) {
	// printf test | sha256sum
	if got := Name("test"); got != "kubernetes.io:kube-apiserver-serving:9f86d081884c7d659a2feaa0" {
		t.Error(got)
	}
}

func TestPlan(t *testing.T) {
	bundle := func(name, signer, text string) *Bundle {
		return &Bundle{
			ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "7"},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text},
		}
	}
	good := bundle(Name("now"), Signer, "now")
	other, unsigned := bundle("example.com:x", "example.com/x", "x"), bundle("x", "", "x")
	for _, c := range []struct {
		name           string
		all            []*Bundle
		create, update bool
		gone           []string
	}{
		{"nothing", nil, true, false, nil},
		{"of others", []*Bundle{other, unsigned}, true, false, nil},
		{"good", []*Bundle{other, good}, false, false, nil},
		{"changed", []*Bundle{bundle(good.Name, Signer, "evil")}, false, true, nil},
		{"old", []*Bundle{bundle(Name("old"), Signer, "old"), other}, true, false, []string{Name("old")}},
		{"both", []*Bundle{bundle(Name("old"), Signer, "old"), good, bundle("kubernetes.io:kube-apiserver-serving:x", Signer, "x")}, false, false,
			[]string{Name("old"), "kubernetes.io:kube-apiserver-serving:x"}},
	} {
		got := Plan(c.all, "now")
		if (got.Create != nil) != c.create || (got.Update != nil) != c.update || !slices.Equal(got.Delete, c.gone) {
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, b := range []*Bundle{got.Create, got.Update} {
			if b != nil && (b.Name != good.Name || b.Spec != good.Spec || (b == got.Update) != (b.ResourceVersion == "7")) {
				t.Errorf("%s: %+v", c.name, b)
			}
		}
	}
}

func TestCounts(t *testing.T) {
	registry, c := metrics.NewKubeRegistry(), newCounters()
	if err := c.register(registry); err != nil {
		t.Fatal(err)
	}
	c.done(nil, time.Second)
	c.done(errors.New("wrong"), time.Second)
	c.done(fmt.Errorf("creating: %w", apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("no"))), time.Second)
	const want = `
# HELP clustertrustbundle_publisher_sync_total [ALPHA] Number of syncs that occurred in cluster trust bundle publisher.
# TYPE clustertrustbundle_publisher_sync_total counter
clustertrustbundle_publisher_sync_total{code="200"} 1
clustertrustbundle_publisher_sync_total{code="403"} 1
clustertrustbundle_publisher_sync_total{code="500"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "clustertrustbundle_publisher_sync_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GetHistogramVecFromGatherer(registry, "clustertrustbundle_publisher_sync_duration_seconds", map[string]string{"code": "403"}); err != nil || n.GetAggregatedSampleCount() != 1 {
		t.Errorf("%v, %v", n, err)
	}
}
