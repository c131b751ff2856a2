package core

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// podExec serves pods/NAME/exec.
func podExec(store *registry.Store, k Kubelet) rest.Storage {
	return connection{
		store: store, options: &corev1.PodExecOptions{}, methods: streamMethods(),
		locate: func(ctx context.Context, name string, o runtime.Object) (target, error) {
			opts := o.(*corev1.PodExecOptions)
			q := streamQuery(opts.Stdin, opts.Stdout, opts.Stderr, opts.TTY)
			for _, c := range opts.Command {
				q.Add(corev1.ExecCommandParam, c)
			}
			return containerTarget(ctx, store, k, streamRequest{"exec", name, opts.Container, q})
		},
		handler: streamHandler,
	}
}

// podAttach serves pods/NAME/attach.
func podAttach(store *registry.Store, k Kubelet) rest.Storage {
	return connection{
		store: store, options: &corev1.PodAttachOptions{}, methods: streamMethods(),
		locate: func(ctx context.Context, name string, o runtime.Object) (target, error) {
			opts := o.(*corev1.PodAttachOptions)
			q := streamQuery(opts.Stdin, opts.Stdout, opts.Stderr, opts.TTY)
			return containerTarget(ctx, store, k, streamRequest{"attach", name, opts.Container, q})
		},
		handler: streamHandler,
	}
}

// podPortForward serves pods/NAME/portforward; a port-forward over a websocket
// is tunnelled to the kubelet as SPDY.
func podPortForward(store *registry.Store, k Kubelet) rest.Storage {
	return connection{
		store: store, options: &corev1.PodPortForwardOptions{}, methods: streamMethods(),
		locate: func(ctx context.Context, name string, o runtime.Object) (target, error) {
			pod, err := get[*corev1.Pod](ctx, store, name)
			if err != nil {
				return target{}, err
			}
			if pod.Spec.NodeName == "" {
				return target{}, notAssigned(name)
			}
			q := url.Values{}
			for _, p := range o.(*corev1.PodPortForwardOptions).Ports {
				q.Add(corev1.PortHeader, strconv.Itoa(int(p)))
			}
			return kubeletTarget(ctx, k, pod.Spec.NodeName, []string{"portForward", pod.Namespace, pod.Name}, q)
		},
		handler: func(t target, r rest.Responder) http.Handler {
			upgrade := proxy.NewUpgradeAwareHandler(t.url, t.transport, false, true, proxy.NewErrorResponder(r))
			return translator.NewTranslatingHandler(upgrade, translator.NewTunnelingHandler(upgrade), wsstream.IsWebSocketRequestWithTunnelingProtocol)
		},
	}
}

type streamRequest struct {
	verb, pod, container string
	query                url.Values
}

// containerTarget is where the kubelet serves a stream of a container.
func containerTarget(ctx context.Context, store *registry.Store, k Kubelet, r streamRequest) (target, error) {
	pod, err := get[*corev1.Pod](ctx, store, r.pod)
	if err != nil {
		return target{}, err
	}
	container, err := chooseContainer(pod, r.container)
	if err != nil {
		return target{}, err
	}
	if pod.Spec.NodeName == "" {
		return target{}, notAssigned(r.pod)
	}
	return kubeletTarget(ctx, k, pod.Spec.NodeName, []string{r.verb, pod.Namespace, pod.Name, container}, r.query)
}

func notAssigned(pod string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod))
}

func streamQuery(stdin, stdout, stderr, tty bool) url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{corev1.ExecStdinParam: stdin, corev1.ExecStdoutParam: stdout, corev1.ExecStderrParam: stderr, corev1.ExecTTYParam: tty} {
		if on {
			q.Set(name, "1")
		}
	}
	return q
}

// streamHandler passes SPDY and the older websocket protocols on, and speaks
// SPDY to the kubelet for a client of the websocket protocol that can close
// its standard input.
func streamHandler(t target, r rest.Responder) http.Handler {
	upgrade := proxy.NewUpgradeAwareHandler(t.url, t.transport, false, true, proxy.NewErrorResponder(r))
	q := t.url.Query()
	spdy := translator.NewStreamTranslatorHandler(t.url, t.transport, 0, translator.Options{
		Stdin:  q.Has(corev1.ExecStdinParam),
		Stdout: q.Has(corev1.ExecStdoutParam),
		Stderr: q.Has(corev1.ExecStderrParam) && !q.Has(corev1.ExecTTYParam),
		Tty:    q.Has(corev1.ExecTTYParam),
	})
	return translator.NewTranslatingHandler(upgrade, spdy, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
}
