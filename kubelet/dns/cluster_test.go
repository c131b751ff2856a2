package dns

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func ptr[T any](v T) *T { return &v }

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

func named(name string, port int32, protocol corev1.Protocol) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: port, Protocol: protocol}
}

// sliceOf is the Service's endpoints on port number of the name.
func sliceOf(service, portName string, number int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: meta(service + "-1"), AddressType: discoveryv1.AddressTypeIPv4}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	s.Ports = []discoveryv1.EndpointPort{{Name: ptr(portName), Port: ptr(number), Protocol: ptr(corev1.ProtocolTCP)}}
	s.Endpoints = endpoints
	return s
}

func at(addr, hostname string, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(ready)}}
	if hostname != "" {
		e.Hostname = ptr(hostname)
	}
	return e
}

// testObjects is the cluster that the tables ask about.
func testObjects() []runtime.Object {
	headless := corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "None", ClusterIPs: []string{"None"}}
	db, patient, empty := headless, headless, headless
	db.Ports = []corev1.ServicePort{named("pg", 5432, corev1.ProtocolTCP)}
	patient.PublishNotReadyAddresses = true
	return []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7", "fd00:96::7"},
			Ports: []corev1.ServicePort{named("http", 80, corev1.ProtocolTCP), named("dns", 53, corev1.ProtocolUDP)},
		}},
		&corev1.Service{ObjectMeta: meta("db"), Spec: db},
		sliceOf("db", "pg", 15432, at("10.244.0.5", "db-0", true), at("10.244.0.6", "", true), at("10.244.0.7", "db-2", false)),
		&corev1.Service{ObjectMeta: meta("patient"), Spec: patient},
		sliceOf("patient", "pg", 1, at("10.244.0.8", "p-0", false)),
		&corev1.Service{ObjectMeta: meta("empty"), Spec: empty},
		&corev1.Service{ObjectMeta: meta("out"), Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com",
		}},
		&corev1.Service{ObjectMeta: meta("alias"), Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "web.default.svc.cluster.local",
		}},
	}
}

// newTestServer is a server over the objects whose caches are filled; it doesn't listen unless the test runs it.
func newTestServer(t testing.TB, config Config, objs ...runtime.Object) (*Server, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objs...)
	factory := informers.NewSharedInformerFactory(client, 0)
	config.Domain = "cluster.local"
	if len(config.ServiceAddresses)+len(config.ListenAddresses) == 0 {
		config.ServiceAddresses, config.LinkName = []netip.Addr{netip.MustParseAddr("10.96.0.10")}, "sk-dns-test"
	}
	server, err := New(config, Deps{Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	return server, client
}
