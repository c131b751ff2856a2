package server

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/util/proxy"
	listers "k8s.io/client-go/listers/core/v1"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
)

// resolver finds the address of a Service that serves webhooks, conversions or
// aggregated APIs. The kubernetes Service is this server itself.
func (s *Server) resolver() (aggregator.ServiceResolver, error) {
	getter, err := proxy.NewEndpointSliceIndexerGetter(s.config.Informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, fmt.Errorf("indexing endpoint slices: %w", err)
	}
	services := s.config.Informers.Core().V1().Services().Lister()
	host := &url.URL{Scheme: "https", Host: s.base.ExternalAddress}
	return aggregator.NewLoopbackServiceResolver(direct{services, getter}, host), nil
}

// direct answers a ready endpoint rather than the cluster IP, so that it works
// without a service proxy on this host.
type direct struct {
	services  listers.ServiceLister
	endpoints proxy.EndpointSliceGetter
}

// ResolveEndpoint implements aggregator.ServiceResolver.
func (d direct) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	service, err := d.services.Services(namespace).Get(name)
	if err != nil {
		return nil, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return proxy.ResolveCluster(d.services, namespace, name, port)
	}
	return proxy.ResolveEndpoint(d.services, d.endpoints, namespace, name, port)
}
