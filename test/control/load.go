package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/clock"
)

// Load is a load on the pods of namespaces, shared out among those that exist: what metrics.k8s.io would show of it.
// Autoscalers alone see it; a namespace without a load has the metrics that the API server serves, if it serves any.
type Load struct {
	clock clock.PassiveClock

	mu     sync.Mutex
	milli  map[string]int64
	client *kubernetes.Clientset
}

// NewLoad answers one that weighs on no namespace.
func NewLoad(clock clock.PassiveClock) *Load { return &Load{clock: clock, milli: map[string]int64{}} }

// Set makes the pods of a namespace use so many thousandths of a CPU together.
func (l *Load) Set(namespace string, milli int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.milli[namespace] = milli
}

// Behind answers a configuration of clients that shows the load to the controller of autoscalers.
func (l *Load) Behind(config func(user string, groups ...string) *rest.Config) func(user string, groups ...string) *rest.Config {
	return func(user string, groups ...string) *rest.Config {
		cfg := config(user, groups...)
		if !strings.HasSuffix(user, ":horizontal-pod-autoscaler") {
			return cfg
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.client = kubernetes.NewForConfigOrDie(config("system:apiserver", "system:masters"))
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return metered{l, next} })
		return cfg
	}
}

func (l *Load) on(namespace string) (milli int64, weighs bool, client *kubernetes.Clientset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	milli, weighs = l.milli[namespace]
	return milli, weighs, l.client
}

// metered answers a client's requests for metrics and passes on all others.
type metered struct {
	load *Load
	next http.RoundTripper
}

func (m metered) RoundTrip(r *http.Request) (*http.Response, error) {
	place, metrics := strings.CutPrefix(r.URL.Path, "/apis/metrics.k8s.io/v1beta1/namespaces/")
	namespace, _, _ := strings.Cut(place, "/")
	milli, weighs, client := m.load.on(namespace)
	if !metrics || !weighs {
		return m.next.RoundTrip(r)
	}
	pods, err := client.CoreV1().Pods(namespace).List(r.Context(), metav1.ListOptions{LabelSelector: r.URL.Query().Get("labelSelector")})
	if err != nil {
		return nil, fmt.Errorf("sharing out a load: %w", err)
	}
	list := metricsv1beta1.PodMetricsList{TypeMeta: metav1.TypeMeta{APIVersion: "metrics.k8s.io/v1beta1", Kind: "PodMetricsList"}}
	for _, p := range pods.Items {
		each := resource.NewMilliQuantity(milli/int64(len(pods.Items)), resource.DecimalSI)
		list.Items = append(list.Items, metricsv1beta1.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: namespace}, Timestamp: metav1.NewTime(m.load.clock.Now()), Window: metav1.Duration{Duration: 15 * time.Second},
			Containers: []metricsv1beta1.ContainerMetrics{{Name: p.Spec.Containers[0].Name, Usage: corev1.ResourceList{corev1.ResourceCPU: *each}}},
		})
	}
	body, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encoding metrics: %w", err)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}
