package dns

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// The indexes kept in the shared informers.
const (
	sliceByService = "skiff/dns/service"
	sliceByAddress = "skiff/dns/address"
	serviceByIP    = "skiff/dns/address"
)

// cluster is what names are answered from: the informers' caches, by the keys that names carry.
type cluster struct {
	namespaces    corelisters.NamespaceLister
	services      corelisters.ServiceLister
	serviceIndex  cache.Indexer
	endpointIndex cache.Indexer
	synced        []cache.InformerSynced
}

func newCluster(factory informers.SharedInformerFactory) (*cluster, error) {
	services, slices := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	namespaces := factory.Core().V1().Namespaces()
	if err := services.Informer().AddIndexers(cache.Indexers{serviceByIP: clusterIPs}); err != nil {
		return nil, err
	}
	err := slices.Informer().AddIndexers(cache.Indexers{sliceByService: serviceOf, sliceByAddress: addressesOf})
	if err != nil {
		return nil, err
	}
	return &cluster{
		namespaces:    namespaces.Lister(),
		services:      services.Lister(),
		serviceIndex:  services.Informer().GetIndexer(),
		endpointIndex: slices.Informer().GetIndexer(),
		synced: []cache.InformerSynced{
			services.Informer().HasSynced, slices.Informer().HasSynced, namespaces.Informer().HasSynced,
		},
	}, nil
}

func clusterIPs(obj any) ([]string, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return nil, nil
	}
	var out []string
	for _, ip := range svc.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil {
			out = append(out, addr.String())
		}
	}
	return out, nil
}

func serviceOf(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	return []string{slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]}, nil
}

func addressesOf(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	var out []string
	for i := range slice.Endpoints {
		if len(slice.Endpoints[i].Addresses) == 0 {
			continue
		}
		if addr, err := netip.ParseAddr(slice.Endpoints[i].Addresses[0]); err == nil {
			out = append(out, addr.String())
		}
	}
	return out, nil
}

func (c *cluster) hasNamespace(name string) bool {
	_, err := c.namespaces.Get(name)
	return err == nil
}

// service answers nil if there is none.
func (c *cluster) service(namespace, name string) *corev1.Service {
	svc, err := c.services.Services(namespace).Get(name)
	if err != nil {
		return nil
	}
	return svc
}

// serviceAt answers the Service with the cluster IP, or nil.
func (c *cluster) serviceAt(addr netip.Addr) *corev1.Service {
	objs, err := c.serviceIndex.ByIndex(serviceByIP, addr.String())
	if err != nil || len(objs) == 0 {
		return nil
	}
	svc, _ := objs[0].(*corev1.Service)
	return svc
}

func (c *cluster) slices(index, key string) []*discoveryv1.EndpointSlice {
	objs, err := c.endpointIndex.ByIndex(index, key)
	if err != nil {
		return nil
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(objs))
	for _, obj := range objs {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			out = append(out, slice)
		}
	}
	return out
}
