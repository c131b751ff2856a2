package core

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

func hostPort(host, port string) string {
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// nodeProxy serves nodes/NAME/proxy: the kubelet, or [scheme:]NAME:PORT of the node.
func nodeProxy(store *registry.Store, k Kubelet) rest.Storage {
	return connection{
		store: store, options: &corev1.NodeProxyOptions{}, methods: proxyMethods(), subpath: true, handler: httpProxy,
		locate: func(ctx context.Context, id string, o runtime.Object) (target, error) {
			scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
			if !ok {
				return target{}, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
			}
			at, err := k.ConnectionInfo(ctx, name)
			if err != nil {
				return target{}, err
			}
			t := target{&url.URL{Scheme: at.Scheme, Host: hostPort(at.Host, at.Port)}, at.Transport}
			if port != "" && port != at.Port {
				t = target{&url.URL{Scheme: scheme, Host: hostPort(at.Host, port)}, http.DefaultTransport}
			}
			return below(t, o.(*corev1.NodeProxyOptions).Path), nil
		},
	}
}

// podProxy serves pods/[scheme:]NAME[:PORT]/proxy; the default port is the
// first that a container declares.
func podProxy(store *registry.Store) rest.Storage {
	return connection{
		store: store, options: &corev1.PodProxyOptions{}, methods: proxyMethods(), subpath: true, handler: httpProxy,
		locate: func(ctx context.Context, id string, o runtime.Object) (target, error) {
			scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
			if !ok {
				return target{}, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
			}
			pod, err := get[*corev1.Pod](ctx, store, name)
			if err != nil {
				return target{}, err
			}
			if port == "" {
				port = firstPort(pod)
			}
			if err := proxyable(pod.Status.PodIP); err != nil {
				return target{}, err
			}
			t := target{&url.URL{Scheme: scheme, Host: hostPort(pod.Status.PodIP, port)}, http.DefaultTransport}
			return below(t, o.(*corev1.PodProxyOptions).Path), nil
		},
	}
}

func firstPort(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if len(c.Ports) > 0 {
			return strconv.Itoa(int(c.Ports[0].ContainerPort))
		}
	}
	return ""
}

// proxyable refuses addresses that would reach the API server's own host.
func proxyable(addr string) error {
	ip := net.ParseIP(addr)
	if ip == nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast() || ip.IsUnspecified() {
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}
