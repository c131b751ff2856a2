package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const mirroring = "endpointslicemirroring-controller.k8s.io"

// mirrors answers the addresses of the service's slices, with who manages them.
func (c *cluster) mirrors(ctx context.Context, name string) string {
	list, err := c.client.DiscoveryV1().EndpointSlices("shop").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, s := range list.Items {
		by, _, _ := strings.Cut(s.Labels[discoveryv1.LabelManagedBy], "-")
		for _, e := range s.Endpoints {
			out = append(out, by+" "+e.Addresses[0])
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func (c *cluster) expectMirrors(name, want string) {
	c.t.Helper()
	c.eventually("slices of "+name, func(ctx context.Context) string {
		if got := c.mirrors(ctx, name); got != want {
			return fmt.Sprintf("%q, wanted %q", got, want)
		}
		return ""
	})
}

// TestMirroringStory writes Endpoints by hand, and gives the service a selector and takes it away again.
//
//nolint:staticcheck // Endpoints are what the test is about
func TestMirroringStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := c.client.CoreV1().Services("shop").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	endpoints := c.client.CoreV1().Endpoints("shop")
	written := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}, {IP: "fd00::1"}}, Ports: []corev1.EndpointPort{{Port: 80}}}},
	}
	if _, err := endpoints.Create(ctx, written, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.expectMirrors("db", "endpointslicemirroring 192.0.2.1; endpointslicemirroring fd00::1")

	patch := func(text string) {
		t.Helper()
		if _, err := endpoints.Patch(ctx, "db", types.MergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{"subsets":[{"addresses":[{"ip":"192.0.2.2"}],"ports":[{"port":81}]}]}`)
	c.expectMirrors("db", "endpointslicemirroring 192.0.2.2")
	if err := c.client.DiscoveryV1().EndpointSlices("shop").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: discoveryv1.LabelManagedBy + "=" + mirroring}); err != nil {
		t.Fatal(err)
	}
	c.expectMirrors("db", "endpointslicemirroring 192.0.2.2") // as the controller repairs it
	patch(`{"metadata":{"labels":{"endpointslice.kubernetes.io/skip-mirror":"true"}}}`)
	c.expectMirrors("db", "")
	patch(`{"metadata":{"labels":{"endpointslice.kubernetes.io/skip-mirror":null}}}`)
	c.expectMirrors("db", "endpointslicemirroring 192.0.2.2")

	selector := func(text string) {
		t.Helper()
		kind, data := merge(`{"spec":{"selector":` + text + `}}`)
		if _, err := c.client.CoreV1().Services("shop").Patch(ctx, "db", kind, data, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	selector(`{"app":"db"}`)
	c.eventually("end of the mirror", func(ctx context.Context) string {
		if got := c.mirrors(ctx, "db"); strings.Contains(got, "mirroring") {
			return got
		}
		return ""
	})
	selector(`null`)
	patch(`{"subsets":[{"addresses":[{"ip":"192.0.2.3"}],"ports":[{"port":82}]}]}`)
	c.expectMirrors("db", "endpointslicemirroring 192.0.2.3")
	if err := endpoints.Delete(ctx, "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.expectMirrors("db", "")
}
