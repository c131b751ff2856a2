package core

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// target is where a connection goes.
type target struct {
	url       *url.URL
	transport http.RoundTripper
}

// connection is a subresource that proxies the request to somewhere else.
type connection struct {
	store   *registry.Store
	options runtime.Object // prototype of the query's options
	methods []string
	subpath bool // what follows the subresource in the path becomes options.path
	locate  func(ctx context.Context, name string, options runtime.Object) (target, error)
	handler func(t target, r rest.Responder) http.Handler
}

var _ rest.Connecter = connection{}

func (c connection) New() runtime.Object      { return c.options.DeepCopyObject() }
func (c connection) Destroy()                 {}
func (c connection) ConnectMethods() []string { return c.methods }

func (c connection) NewConnectOptions() (runtime.Object, bool, string) {
	if c.subpath {
		return c.options.DeepCopyObject(), true, "path"
	}
	return c.options.DeepCopyObject(), false, ""
}

func (c connection) Connect(ctx context.Context, name string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	t, err := c.locate(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return c.handler(t, r), nil
}

// streamMethods are those of exec, attach and port-forward.
func streamMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// proxyMethods are those of the HTTP proxies.
func proxyMethods() []string {
	return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}
}

// httpProxy passes HTTP requests, and upgrades where they ask for one.
func httpProxy(t target, r rest.Responder) http.Handler {
	h := proxy.NewUpgradeAwareHandler(t.url, t.transport, true, false, proxy.NewErrorResponder(r))
	return h
}

// below appends the path of the request to where the proxy points.
func below(t target, path string) target {
	u := *t.url
	u.Path = utilnet.JoinPreservingTrailingSlash(u.Path, path)
	return target{&u, t.transport}
}

// get reads an object of a store.
func get[T runtime.Object](ctx context.Context, store *registry.Store, name string) (T, error) {
	obj, err := store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return *new(T), err
	}
	return obj.(T), nil
}

// kubeletTarget points to a path of a node's kubelet.
func kubeletTarget(ctx context.Context, k Kubelet, node string, path []string, query url.Values) (target, error) {
	at, err := k.ConnectionInfo(ctx, node)
	if err != nil {
		return target{}, err
	}
	return target{kubeletURL(at, path, query), at.Transport}, nil
}

func kubeletURL(at KubeletAddress, path []string, query url.Values) *url.URL {
	return &url.URL{Scheme: at.Scheme, Host: hostPort(at.Host, at.Port), Path: "/" + strings.Join(path, "/"), RawQuery: query.Encode()}
}

// optionTypes are the query options of the subresources that connect.
func optionTypes() []runtime.Object {
	return []runtime.Object{
		&corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{},
		&corev1.PodProxyOptions{}, &corev1.ServiceProxyOptions{}, &corev1.NodeProxyOptions{},
	}
}
