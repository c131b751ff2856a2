package metrics_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"skiff/test/env"
)

// kubelet serves /metrics/resource as a kubelet does, to clients that show the
// API server's certificate, of containers that use a fifth of a processor.
func kubelet(t *testing.T, s *env.Server, containers ...string) (port int32) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.PKI.File("apiserver.crt"), s.PKI.File("apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if len(r.TLS.PeerCertificates) == 0 || r.URL.Path != "/metrics/resource" {
			http.Error(w, "not allowed", http.StatusForbidden)
			return
		}
		at := 1_800_000_000_000 + 10_000*n
		fmt.Fprintf(w, "node_cpu_usage_seconds_total %d %d\nnode_memory_working_set_bytes 1048576 %d\n", 15*n, at, at)
		for _, c := range containers {
			pod, name, _ := strings.Cut(c, "/")
			labels := fmt.Sprintf(`{container="%s",namespace="default",pod="%s"}`, name, pod)
			fmt.Fprintf(w, "container_cpu_usage_seconds_total%s %d %d\ncontainer_memory_working_set_bytes%s 2048 %d\ncontainer_start_time_seconds%s 1.7e+09\n", labels, 2*n, at, labels, at, labels)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return int32(server.Listener.Addr().(*net.TCPAddr).Port) //nolint:gosec,forcetypeassert // a port
}

func addNode(t *testing.T, c kubernetes.Interface, name string, port int32) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"disk": name}}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
	}}
	if _, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func addPod(t *testing.T, c kubernetes.Interface, name, node string) {
	t.Helper()
	pods := c.CoreV1().Pods("default")
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodRunning
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsAPI(t *testing.T) {
	s := env.Start(t, env.Options{})
	c := kubernetes.NewForConfigOrDie(s.Admin())
	if _, err := c.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	addNode(t, c, "a", kubelet(t, s, "web/c", "web/d", "elsewhere/c"))
	addNode(t, c, "b", 1) // nothing listens there
	addNode(t, c, "hollow", 0)
	addPod(t, c, "web", "a")
	addPod(t, c, "quiet", "a")
	addPod(t, c, "elsewhere", "b")
	await(t, s, "elsewhere")
	for name, contentType := range map[string]string{"json": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"} {
		t.Run(name, func(t *testing.T) {
			config := s.Admin()
			config.ContentType, config.AcceptContentTypes = contentType, contentType
			testObjects(t, metricsclient.NewForConfigOrDie(config))
		})
	}
	t.Run("tables", func(t *testing.T) { testTables(t, c.CoreV1().RESTClient()) })
	t.Run("discovery", func(t *testing.T) { testDiscovery(t, s.Admin()) })
	t.Run("counters", func(t *testing.T) {
		text := raw(t, c.CoreV1().RESTClient(), "/metrics", "*/*")
		for _, want := range []string{
			`metrics_server_kubelet_request_total{success="true"}`, `metrics_server_kubelet_request_total{success="false"}`,
			`metrics_server_manager_tick_duration_seconds_count`, `metrics_server_api_metric_freshness_seconds_count`,
			"metrics_server_storage_points{type=\"container\"} 3\n", "metrics_server_storage_points{type=\"node\"} 1\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("/metrics doesn't show %s", want)
			}
		}
	})
}

// await returns when the server's own cache has the pod, as it runs.
func await(t *testing.T, s *env.Server, name string) {
	t.Helper()
	lister := s.Informers.Core().V1().Pods().Lister()
	timeout := time.After(30 * time.Second)
	for {
		if pod, err := lister.Pods("default").Get(name); err == nil && pod.Status.Phase == corev1.PodRunning {
			return
		}
		select {
		case <-timeout:
			t.Fatalf("the cache doesn't show %s", name)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func testObjects(t *testing.T, c metricsclient.Interface) {
	nodes, pods, ctx := c.MetricsV1beta1().NodeMetricses(), c.MetricsV1beta1().PodMetricses("default"), t.Context()
	node, err := nodes.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || node.Usage.Cpu().String() != "1500m" || node.Usage.Memory().String() != "1Mi" || node.Window.Duration != 10*time.Second || node.Labels["disk"] != "a" {
		t.Errorf("node a: %+v, %v", node, err)
	}
	pod, err := pods.Get(ctx, "web", metav1.GetOptions{})
	if err != nil || len(pod.Containers) != 2 || pod.Containers[1].Name != "d" || pod.Containers[1].Usage.Cpu().String() != "200m" || pod.Containers[1].Usage.Memory().Value() != 2048 || pod.Labels["app"] != "web" {
		t.Errorf("pod web: %+v, %v", pod, err)
	}
	for name, want := range map[string]string{
		"none":      `pods "none" not found`,
		"quiet":     `pods.metrics.k8s.io "default/quiet" not found`,
		"elsewhere": `pods.metrics.k8s.io "default/elsewhere" not found`, // told by a node that isn't its own
	} {
		if _, err := pods.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) || err.Error() != want {
			t.Errorf("pod %s: %v, want %s", name, err, want)
		}
	}
	for name, want := range map[string]string{"none": `nodes "none" not found`, "b": `nodes.metrics.k8s.io "b" not found`, "hollow": `nodes.metrics.k8s.io "hollow" not found`} {
		if _, err := nodes.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) || err.Error() != want {
			t.Errorf("node %s: %v, want %s", name, err, want)
		}
	}
	for _, o := range []struct {
		namespace, labels, fields string
		want                      int
	}{
		{"default", "", "", 1}, {"", "", "", 1}, {"kube-system", "", "", 0},
		{"default", "app=web", "", 1}, {"default", "app!=web", "", 0},
		{"", "", "metadata.name=web,metadata.namespace=default", 1}, {"", "", "metadata.name=web,metadata.namespace=other", 0}, {"default", "", "metadata.name!=web", 0},
	} {
		list, err := c.MetricsV1beta1().PodMetricses(o.namespace).List(ctx, metav1.ListOptions{LabelSelector: o.labels, FieldSelector: o.fields})
		if err != nil || len(list.Items) != o.want {
			t.Errorf("%+v: %d pods, %v", o, len(list.Items), err)
		}
	}
	for options, want := range map[metav1.ListOptions]int{{}: 1, {LabelSelector: "disk=a"}: 1, {LabelSelector: "disk=b"}: 0, {FieldSelector: "metadata.name=a"}: 1, {FieldSelector: "metadata.name=b"}: 0} {
		if list, err := nodes.List(ctx, options); err != nil || len(list.Items) != want {
			t.Errorf("%+v: %+v, %v", options, list, err)
		}
	}
	if _, err := nodes.List(ctx, metav1.ListOptions{FieldSelector: "spec.unschedulable=true"}); !apierrors.IsBadRequest(err) {
		t.Errorf("an unknown field: %v", err)
	}
}

func raw(t *testing.T, c rest.Interface, path, accept string) string {
	t.Helper()
	out, err := c.Get().RequestURI(path).SetHeader("Accept", accept).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return string(out)
}

func testTables(t *testing.T, c rest.Interface) {
	for path, want := range map[string]string{
		"/apis/metrics.k8s.io/v1beta1/nodes":                          "Name cpu memory Window [a 1500m 1Mi 10s]",
		"/apis/metrics.k8s.io/v1beta1/namespaces/default/pods":        "Name cpu memory Window [web 400m 4Ki 10s]",
		"/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/web":    "Name cpu memory Window [web 400m 4Ki 10s]",
		"/apis/metrics.k8s.io/v1beta1/namespaces/kube-system/pods":    "Name cpu memory Window",
		"/apis/metrics.k8s.io/v1beta1/nodes/a?includeObject=Metadata": "Name cpu memory Window [a 1500m 1Mi 10s]",
	} {
		var table metav1.Table
		if err := json.Unmarshal([]byte(raw(t, c, path, "application/json;as=Table;v=v1;g=meta.k8s.io")), &table); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, column := range table.ColumnDefinitions {
			got = append(got, column.Name)
		}
		for _, row := range table.Rows {
			got = append(got, fmt.Sprint(row.Cells))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s", path, text, want)
		}
	}
}

func testDiscovery(t *testing.T, config *rest.Config) {
	c := discovery.NewDiscoveryClientForConfigOrDie(config)
	legacy := discovery.NewDiscoveryClientForConfigOrDie(config)
	legacy.UseLegacyDiscovery = true
	for name, c := range map[string]*discovery.DiscoveryClient{"aggregated": c, "legacy": legacy} {
		groups, lists, err := c.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		if last := groups[len(groups)-1]; last.Name != metricsv1beta1.GroupName || last.PreferredVersion.GroupVersion != "metrics.k8s.io/v1beta1" || len(last.Versions) != 1 {
			t.Errorf("%s: the last group is %+v", name, last)
		}
		i := slices.IndexFunc(lists, func(l *metav1.APIResourceList) bool { return l.GroupVersion == "metrics.k8s.io/v1beta1" })
		if i < 0 {
			t.Fatalf("%s: no resources of metrics.k8s.io", name)
		}
		var got []string
		for _, r := range lists[i].APIResources {
			got = append(got, fmt.Sprint(r.Name, " ", r.SingularName, " ", r.Kind, " ", r.Namespaced, " ", r.Verbs))
		}
		slices.Sort(got)
		if want := []string{"nodes node NodeMetrics false [get list]", "pods pod PodMetrics true [get list]"}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	group := raw(t, c.RESTClient(), "/apis/metrics.k8s.io", "application/json")
	if !strings.Contains(group, `"groupVersion":"metrics.k8s.io/v1beta1"`) {
		t.Errorf("/apis/metrics.k8s.io: %s", group)
	}
	document := raw(t, c.RESTClient(), "/openapi/v3/apis/metrics.k8s.io/v1beta1", "application/json")
	for _, want := range []string{"io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetricsList", `"kind":"NodeMetrics"`, "/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}"} {
		if !strings.Contains(document, want) {
			t.Errorf("the OpenAPI document doesn't contain %s", want)
		}
	}
}
