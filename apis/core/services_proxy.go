package core

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
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
			svc, err := get[*corev1.Service](ctx, store, name)
			if err != nil {
				return target{}, err
			}
			portName, err := servicePortName(svc, port)
			if err != nil {
				return target{}, err
			}
			slices, err := client.DiscoveryV1().EndpointSlices(svc.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + svc.Name})
			if err != nil {
				return target{}, err
			}
			host, err := pickEndpoint(slices.Items, portName, rand.IntN)
			if err != nil {
				return target{}, apierrors.NewServiceUnavailable(fmt.Sprintf("%v for service %q", err, id))
			}
			t := target{&url.URL{Scheme: scheme, Host: host}, http.DefaultTransport}
			return below(t, o.(*corev1.ServiceProxyOptions).Path), nil
		},
	}
}

// servicePortName is the name of the port that a request means.
func servicePortName(svc *corev1.Service, port string) (string, error) {
	if port == "" && len(svc.Spec.Ports) == 1 {
		return svc.Spec.Ports[0].Name, nil
	}
	if n, err := strconv.Atoi(port); err == nil {
		for _, p := range svc.Spec.Ports {
			if int(p.Port) == n {
				return p.Name, nil
			}
		}
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", n, svc.Name))
	}
	return port, nil
}

// pickEndpoint picks one ready endpoint's address; pick(n) answers 0 <= i < n.
func pickEndpoint(slices []discoveryv1.EndpointSlice, portName string, pick func(int) int) (string, error) {
	var hosts []string
	for _, s := range slices {
		for _, p := range s.Ports {
			if p.Port == nil || (p.Name != nil && *p.Name != portName) || (p.Name == nil && portName != "") {
				continue
			}
			for _, e := range s.Endpoints {
				if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 && proxyable(e.Addresses[0]) == nil {
					hosts = append(hosts, hostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(hosts) == 0 {
		return "", errors.New("no endpoints available")
	}
	return hosts[pick(len(hosts))], nil
}
