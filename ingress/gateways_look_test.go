package ingress

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"skiff/ingress/route"
)

// kindsOf is what discovery says of the Gateway API.
func kindsOf(names ...string) []*metav1.APIResourceList {
	list := &metav1.APIResourceList{GroupVersion: route.GatewayGroup + "/v1"}
	for _, name := range names {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name})
	}
	return []*metav1.APIResourceList{list}
}

// TestGatewaysStayFollowed: an API server that doesn't answer and a further kind are no reason to take routes away for a
// while; that the kinds are gone is.
func TestGatewaysStayFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var away atomic.Bool
		client.PrependReactor("get", "resource", func(clienttesting.Action) (bool, runtime.Object, error) {
			if away.Load() {
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		gv := schema.GroupVersion{Group: route.GatewayGroup, Version: "v1"}
		customs := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
			gv.WithResource(classes): "GatewayClassList", gv.WithResource(gates): "GatewayList",
			gv.WithResource(routes): "HTTPRouteList", gv.WithResource(grants): "ReferenceGrantList",
		})
		g := &gateways{of: &Ingress{client: client, changes: newChanges()}, client: customs}
		meanwhile := -1
		customs.PrependReactor("list", grants, func(clienttesting.Action) (bool, runtime.Object, error) {
			meanwhile = g.followed()
			return false, nil, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.run(ctx) }()
		follows := func(when string, want int) {
			t.Helper()
			time.Sleep(3 * lookPeriod) // of the bubble
			synctest.Wait()
			if got := g.followed(); got != want {
				t.Errorf("%s it follows %d kinds, want %d", when, got, want)
			}
		}
		follows("without any,", 0)
		client.Resources = kindsOf(classes, gates, routes)
		follows("once they are there,", 3)
		away.Store(true)
		follows("while nobody answers,", 3)
		away.Store(false)
		client.Resources = kindsOf(classes, gates, routes, grants)
		follows("with one more,", 4)
		if meanwhile != 3 {
			t.Errorf("while it gets to know one more, it follows %d, want 3", meanwhile)
		}
		client.Resources = nil
		follows("when they are gone,", 0)
		cancel()
		<-done
	})
}
