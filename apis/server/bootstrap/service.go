package bootstrap

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	serviceName = "kubernetes"
	portName    = "https"
	servicePort = 443
)

// API is where the servers of the cluster can be reached.
type API struct {
	ClusterIP netip.Addr
	Addresses []netip.Addr // of the servers
	Port      int32        // that they listen on
}

// Service makes the kubernetes Service of the default namespace.
func (b Bootstrap) Service(ctx context.Context, api API) error {
	c := b.Client.CoreV1().Services(metav1.NamespaceDefault)
	_, err := c.Get(ctx, serviceName, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if apierrors.IsNotFound(err) {
		_, err = c.Create(ctx, service(api), metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the kubernetes service: %w", err)
	}
	return nil
}

func service(api API) *corev1.Service {
	single := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"},
		},
		Spec: corev1.ServiceSpec{
			Ports:           []corev1.ServicePort{{Name: portName, Port: servicePort, TargetPort: intstr.FromInt32(api.Port), Protocol: corev1.ProtocolTCP}},
			ClusterIP:       api.ClusterIP.String(),
			IPFamilyPolicy:  &single,
			SessionAffinity: corev1.ServiceAffinityNone,
			Type:            corev1.ServiceTypeClusterIP,
		},
	}
}

// Endpoints points the kubernetes Service at the servers.
func (b Bootstrap) Endpoints(ctx context.Context, api API) error {
	slices.SortFunc(api.Addresses, netip.Addr.Compare)
	if err := b.endpoints(ctx, api); err != nil {
		return fmt.Errorf("writing the kubernetes endpoints: %w", err)
	}
	if err := b.endpointSlice(ctx, api); err != nil {
		return fmt.Errorf("writing the kubernetes endpoint slice: %w", err)
	}
	return nil
}

func (b Bootstrap) endpoints(ctx context.Context, api API) error {
	c := b.Client.CoreV1().Endpoints(metav1.NamespaceDefault) //nolint:staticcheck // clients still read it
	want := endpoints(api)
	have, err := c.Get(ctx, serviceName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = c.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && !equality.Semantic.DeepEqual(have.Subsets, want.Subsets):
		have.Subsets = want.Subsets
		_, err = c.Update(ctx, have, metav1.UpdateOptions{})
	}
	return ignoreRace(err)
}

func (b Bootstrap) endpointSlice(ctx context.Context, api API) error {
	c := b.Client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	want := endpointSlice(api)
	have, err := c.Get(ctx, serviceName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = c.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && (!equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) || !equality.Semantic.DeepEqual(have.Ports, want.Ports)):
		have.Endpoints, have.Ports = want.Endpoints, want.Ports
		_, err = c.Update(ctx, have, metav1.UpdateOptions{})
	}
	return ignoreRace(err)
}

// ignoreRace leaves it to the next round when another server was faster.
func ignoreRace(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func endpoints(api API) *corev1.Endpoints { //nolint:staticcheck // see Bootstrap.endpoints
	var addresses []corev1.EndpointAddress
	for _, a := range api.Addresses {
		addresses = append(addresses, corev1.EndpointAddress{IP: a.String()})
	}
	return &corev1.Endpoints{ //nolint:staticcheck // see Bootstrap.endpoints
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
		},
		Subsets: []corev1.EndpointSubset{{
			Addresses: addresses,
			Ports:     []corev1.EndpointPort{{Name: portName, Port: api.Port, Protocol: corev1.ProtocolTCP}},
		}},
	}
}

func endpointSlice(api API) *discoveryv1.EndpointSlice {
	kind := discoveryv1.AddressTypeIPv4
	if api.ClusterIP.Is6() {
		kind = discoveryv1.AddressTypeIPv6
	}
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName},
		},
		AddressType: kind,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To(portName), Port: ptr.To(api.Port), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, a := range api.Addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{a.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
		})
	}
	return s
}
