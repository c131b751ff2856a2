package core

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/kubernetes"
)

// serviceProxy serves services/[scheme:]NAME[:PORT]/proxy by way of one of the
// service's ready endpoints; PORT is a name or number of the service's ports.
func serviceProxy(store *registry.Store, client kubernetes.Interface) rest.Storage {
	return connection{
		store: store, options: &corev1.ServiceProxyOptions{}, methods: proxyMethods(), subpath: true, handler: httpProxy,
		locate: func(ctx context.Context, id string, o runtime.Object) (target, error) {
			scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
			if !ok {
				return target{}, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
			}
			port, err := portName(ctx, store, name, port)
			if err != nil {
				return target{}, err
			}
			host, err := pickEndpoint(ctx, client, name, port)
			if err != nil {
				return target{}, err
			}
			t := target{&url.URL{Scheme: scheme, Host: host}, http.DefaultTransport}
			return below(t, o.(*corev1.ServiceProxyOptions).Path), nil
		},
	}
}

// portName is the name of the port that a request means by name or number.
func portName(ctx context.Context, store *registry.Store, service, port string) (string, error) {
	n, err := strconv.ParseInt(port, 10, 64)
	if err != nil {
		return port, nil
	}
	svc, err := get[*corev1.Service](ctx, store, service)
	if err != nil {
		return "", err
	}
	for _, p := range svc.Spec.Ports {
		if int64(p.Port) == n {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", n, service))
}

// pickEndpoint picks one ready endpoint's address. Only pods count: whoever may
// write slices must not make the API server call what it alone can reach.
func pickEndpoint(ctx context.Context, client kubernetes.Interface, service, port string) (string, error) {
	namespace := genericrequest.NamespaceValue(ctx)
	list, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return "", apierrors.NewInternalError(err)
	}
	all := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return proxy.RandomEndpoint(service, all, port, corev1.IPv4Protocol, func(e *discoveryv1.Endpoint) bool {
		return len(e.Addresses) > 0 && proxyable(e.Addresses[0]) == nil && isPod(ctx, client, namespace, e)
	})
}

// isPod reports whether the endpoint is a pod at the address that it has.
func isPod(ctx context.Context, client kubernetes.Interface, namespace string, e *discoveryv1.Endpoint) bool {
	if e.TargetRef == nil || e.TargetRef.Namespace != namespace {
		return false
	}
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, e.TargetRef.Name, metav1.GetOptions{})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == e.Addresses[0] })
}
