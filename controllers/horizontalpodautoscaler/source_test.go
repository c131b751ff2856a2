package horizontalpodautoscaler

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	testclock "k8s.io/utils/clock/testing"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/kinds"
)

// answers are what a server of metrics says, by path.
var answers = map[string]string{
	"/api":    `{"kind":"APIVersions","versions":["v1"]}`,
	"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","kind":"Pod","namespaced":true},{"name":"namespaces","kind":"Namespace"}]}`,
	"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[
		{"name":"networking.k8s.io","versions":[{"groupVersion":"networking.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"networking.k8s.io/v1","version":"v1"}},
		{"name":"custom.metrics.k8s.io","versions":[{"groupVersion":"custom.metrics.k8s.io/v1beta2","version":"v1beta2"}],"preferredVersion":{"groupVersion":"custom.metrics.k8s.io/v1beta2","version":"v1beta2"}}]}`,
	"/apis/networking.k8s.io/v1":          `{"kind":"APIResourceList","groupVersion":"networking.k8s.io/v1","resources":[{"name":"ingresses","kind":"Ingress","namespaced":true}]}`,
	"/apis/custom.metrics.k8s.io/v1beta2": `{"kind":"APIResourceList","groupVersion":"custom.metrics.k8s.io/v1beta2","resources":[]}`,
	"/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods": `{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[
		{"metadata":{"name":"a"},"timestamp":"2026-01-02T03:04:05Z","window":"15s","containers":[{"name":"app","usage":{"cpu":"100m","memory":"1Mi"}},{"name":"log","usage":{"cpu":"7m","memory":"1Mi"}}]},
		{"metadata":{"name":"b"},"timestamp":"2026-01-02T03:04:05Z","window":"15s","containers":[{"name":"app","usage":{"cpu":"100m"}},{"name":"log","usage":{}}]},
		{"metadata":{"name":"c"},"timestamp":"2026-01-02T03:04:05Z","window":"15s","containers":[]}]}`,
	"/apis/metrics.k8s.io/v1beta1/namespaces/empty/pods": `{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[]}`,
	"/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/pods/*/qps": `{"kind":"MetricValueList","apiVersion":"custom.metrics.k8s.io/v1beta2","items":[
		{"describedObject":{"kind":"Pod","name":"a"},"metric":{"name":"qps"},"timestamp":"2026-01-02T03:04:05Z","value":"10"},
		{"describedObject":{"kind":"Pod","name":"b"},"metric":{"name":"qps"},"timestamp":"2026-01-02T03:04:05Z","windowSeconds":30,"value":"500m"}]}`,
	"/apis/custom.metrics.k8s.io/v1beta2/namespaces/empty/pods/*/qps": `{"kind":"MetricValueList","apiVersion":"custom.metrics.k8s.io/v1beta2","items":[]}`,
	"/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/ingresses.networking.k8s.io/front/hits": `{"kind":"MetricValueList","apiVersion":"custom.metrics.k8s.io/v1beta2","items":[
		{"describedObject":{"kind":"Ingress","name":"front"},"metric":{"name":"hits"},"timestamp":"2026-01-02T03:04:05Z","value":"20"}]}`,
	"/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/metrics/hits": `{"kind":"MetricValueList","apiVersion":"custom.metrics.k8s.io/v1beta2","items":[
		{"describedObject":{"kind":"Namespace","name":"shop"},"metric":{"name":"hits"},"timestamp":"2026-01-02T03:04:05Z","value":"30"}]}`,
	"/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/orders": `{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","items":[
		{"metricName":"orders","timestamp":"2026-01-02T03:04:05Z","value":"3"},{"metricName":"orders","timestamp":"2026-01-02T03:04:05Z","value":"1500m"}]}`,
	"/apis/external.metrics.k8s.io/v1beta1/namespaces/empty/orders": `{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","items":[]}`,
}

// metered answers a source that reads from a server with those answers.
func metered(t *testing.T) *source {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"nothing there"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	cfg := &rest.Config{Host: server.URL}
	env := controller.Env{Client: kubernetes.NewForConfigOrDie(cfg), Config: cfg, Clock: testclock.NewFakeClock(epoch())}
	s, err := newSource(env, kinds.New(env), 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRead(t *testing.T) {
	s := metered(t)
	sample := func(value int64, window time.Duration) Sample {
		return Sample{Value: value, At: epoch(), Window: window}
	}
	ns := object(autoscalingv2.ValueMetricType, "1")
	ns.Object.DescribedObject = autoscalingv2.CrossVersionObjectReference{Kind: "Namespace", Name: "elsewhere", APIVersion: "v1"}
	unknown := object(autoscalingv2.ValueMetricType, "1")
	unknown.Object.DescribedObject.Kind = "Ghost"
	unreadable := external(autoscalingv2.ValueMetricType, "1")
	unreadable.External.Metric.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	av := autoscalingv2.AverageValueMetricType
	const quarter = 15 * time.Second
	tests := []struct {
		name, namespace string
		spec            autoscalingv2.MetricSpec
		pods            Samples
		values          []int64
		err             string
	}{
		{"cpu", "shop", cpu(1), Samples{"a": sample(107, quarter)}, nil, ""},
		{"memory", "shop", average(corev1.ResourceMemory, "1"), Samples{"a": sample(2<<20*1000, quarter)}, nil, ""},
		{"cpu of a container", "shop", container("app", goal(av, "1")), Samples{"a": sample(100, quarter), "b": sample(100, quarter)}, nil, ""},
		{"cpu of a container that shows none", "shop", container("log", goal(av, "1")), Samples{"a": sample(7, quarter)}, nil, ""},
		{"no samples", "empty", cpu(1), nil, nil, "no metrics returned from resource metrics API"},
		{"no server", "gone", cpu(1), nil, nil, "unable to fetch metrics from resource metrics API: nothing there"},
		{"of pods", "shop", ofPods("1"), Samples{"a": sample(10000, time.Minute), "b": sample(500, 30*time.Second)}, nil, ""},
		{"of no pods", "empty", ofPods("1"), nil, nil, "no metrics returned from custom metrics API"},
		{"of pods without server", "gone", ofPods("1"), nil, nil, "unable to fetch metrics from custom metrics API: nothing there"},
		{"of an object", "shop", object(av, "1"), nil, []int64{20000}, ""},
		{"of the namespace, whichever is named", "shop", ns, nil, []int64{30000}, ""},
		{"of an unknown kind", "shop", unknown, nil, nil, `unable to fetch metrics from custom metrics API: `},
		{"external", "shop", external(av, "1"), nil, []int64{3000, 1500}, ""},
		{"no external", "empty", external(av, "1"), nil, nil, "no metrics returned from external metrics API"},
		{"external without server", "gone", external(av, "1"), nil, nil, "unable to fetch metrics from external metrics API: nothing there"},
		{"a selector that cannot be read", "shop", unreadable, nil, nil, `"Near" is not a valid label selector operator`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.read(t.Context(), &tt.spec, tt.namespace, labels.Everything())
			same := func(a, b Sample) bool { return a.Value == b.Value && a.At.Equal(b.At) && a.Window == b.Window }
			if !maps.EqualFunc(r.Pods, tt.pods, same) || !slices.Equal(r.Values, tt.values) || (r.Err == nil) != (tt.err == "") || !strings.HasPrefix(text(r.Err), tt.err) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestSetHeedsConflicts(t *testing.T) {
	of := schema.GroupResource{Group: "apps", Resource: "deployments"}
	for _, tt := range []struct{ conflicts, writes int }{{0, 1}, {2, 3}, {9, attempts}} {
		scales := &scalefake.FakeScaleClient{}
		writes := 0
		scales.AddReactor("update", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			s := a.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
			if s.Spec.Replicas != 5 || (writes > 0) != (s.ResourceVersion == "newer") {
				t.Errorf("write %d is %+v", writes, s)
			}
			if writes++; writes <= tt.conflicts {
				return true, nil, apierrors.NewConflict(of, "web", nil)
			}
			return true, s, nil
		})
		scales.AddReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", ResourceVersion: "newer"}}, nil
		})
		found := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", ResourceVersion: "old"}}
		err := (&target{scales: scales}).set(t.Context(), of, found, 5)
		if writes != tt.writes || (err != nil) != (tt.conflicts >= attempts) {
			t.Errorf("%d conflicts: %d writes, %v", tt.conflicts, writes, err)
		}
	}
}

func TestMemories(t *testing.T) {
	var m memories
	key := inShop("web")
	if _, first := m.of(key, "1"); !first {
		t.Error("a new one is known")
	}
	m.keep(key, History{Ups: ago(1, 1)})
	if h, first := m.of(key, "1"); first || len(h.Ups) != 1 {
		t.Errorf("remembered %+v", h)
	}
	if h, first := m.of(key, "2"); first || len(h.Ups) != 0 {
		t.Errorf("one that replaced it remembers %+v", h)
	}
	m.of(inShop("api"), "3")
	m.of(controller.Key{Namespace: "bar", Name: "web"}, "4")
	m.others(inShop("api"), labels.Everything())
	m.others(controller.Key{Namespace: "bar", Name: "web"}, labels.Everything())
	if others := m.others(key, labels.Nothing()); len(others) != 1 || others[inShop("api")] == nil {
		t.Errorf("others %v", others)
	}
	if !m.forget(key) || m.forget(key) {
		t.Error("forgot twice, or never")
	}
	m.keep(key, History{Ups: ago(1, 1)})
	if h, first := m.of(key, "2"); !first || len(h.Ups) != 0 {
		t.Errorf("one that is gone remembers %+v", h)
	}
}

func TestChanged(t *testing.T) {
	a := func(uid string, generation int64) metav1.Object {
		return &metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: types.UID(uid), Generation: generation}
	}
	for _, tt := range []struct {
		name          string
		before, after metav1.Object
		want          int
	}{
		{"new", nil, a("1", 1), 1}, {"gone", a("1", 1), nil, 1}, {"another spec", a("1", 1), a("1", 2), 1}, {"another status", a("1", 1), a("1", 1), 0},
		{"another one", a("1", 1), a("2", 1), 1},
	} {
		if got := changed(tt.before, tt.after); len(got) != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
