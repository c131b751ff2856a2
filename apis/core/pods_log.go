package core

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"skiff/apis/validate"
)

var (
	logUsage    = counter("kube_apiserver_pod_logs", "insecure_backend_total", "Number of requests for logs, by whether the kubelet's certificate is verified: enforce_tls, skip_tls_allowed", "usage")
	logFailures = counter("kube_apiserver_pod_logs", "backend_tls_failure_total", "Number of requests for logs that failed as the kubelet's certificate could not be verified")

	registerLogMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(logUsage, logFailures) })
)

// logEndpoint serves pods/NAME/log from the kubelet of the pod's node.
type logEndpoint struct {
	store   *registry.Store
	kubelet Kubelet
}

var (
	_ rest.GetterWithOptions = logEndpoint{}
	_ rest.StorageMetadata   = logEndpoint{}
)

func (e logEndpoint) New() runtime.Object               { return &corev1.Pod{} }
func (e logEndpoint) Destroy()                          {}
func (e logEndpoint) ProducesMIMETypes(string) []string { return []string{"text/plain"} }
func (e logEndpoint) ProducesObject(string) any         { return "" }
func (e logEndpoint) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// OverrideMetricsVerb counts reading a log as a connection, as it may last.
func (e logEndpoint) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

func (e logEndpoint) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	registerLogMetrics()
	usage := "enforce_tls"
	if o.InsecureSkipTLSVerifyBackend {
		usage = "skip_tls_allowed"
	}
	logUsage.WithLabelValues(usage).Inc()
	if errs := validateLogOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	pod, err := get[*corev1.Pod](ctx, e.store, name)
	if err != nil {
		return nil, err
	}
	container, err := chooseContainer(pod, o.Container)
	if err != nil {
		return nil, err
	}
	out := &genericrest.LocationStreamer{
		ContentType: "text/plain", Flush: o.Follow, RedirectChecker: genericrest.PreventRedirects,
		ResponseChecker:             genericrest.NewGenericHttpResponseChecker(schema.GroupResource{Resource: "pods/log"}, name),
		TLSVerificationErrorCounter: logFailures.WithLabelValues(),
	}
	if pod.Spec.NodeName == "" { // nothing has run yet: an empty log
		return out, nil
	}
	at, err := e.kubelet.ConnectionInfo(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	out.Location, out.Transport = kubeletURL(at, []string{"containerLogs", pod.Namespace, pod.Name, container}, logQuery(o)), at.Transport
	if o.InsecureSkipTLSVerifyBackend { // for nodes whose serving certificate has ended, or was never approved
		out.Transport = at.Insecure
	}
	return out, nil
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, on bool) {
		if on {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	return q
}

func validateLogOptions(o *corev1.PodLogOptions) (errs field.ErrorList) {
	if o.TailLines != nil {
		errs = append(errs, validate.NonNegative(*o.TailLines, field.NewPath("tailLines"))...)
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if o.Stream != nil { // KEP-3288, off by default
		errs = append(errs, field.Forbidden(field.NewPath("stream"), "may not be specified"))
	}
	return errs
}

// chooseContainer is the container asked for, or the only one.
func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	var main, inits, ephemeral []string
	for _, c := range pod.Spec.Containers {
		main = append(main, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		inits = append(inits, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, c.Name)
	}
	if name != "" {
		if slices.Contains(main, name) || slices.Contains(inits, name) || slices.Contains(ephemeral, name) {
			return name, nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	if len(main) == 1 {
		return main[0], nil
	}
	text := fmt.Sprintf("a container name must be specified for pod %s", pod.Name)
	if len(main) > 0 {
		text += ", choose one of: [" + strings.Join(main, " ") + "]"
	}
	if len(inits) > 0 {
		text += " or one of the init containers: [" + strings.Join(inits, " ") + "]"
	}
	if len(ephemeral) > 0 {
		text += " or one of the ephemeral containers: [" + strings.Join(ephemeral, " ") + "]"
	}
	return "", apierrors.NewBadRequest(text)
}
