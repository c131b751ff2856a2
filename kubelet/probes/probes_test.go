package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeExec answers each call with the next exit code, the last one for ever; -1 is an error.
type fakeExec struct {
	mu    sync.Mutex
	codes []int32
	times []time.Time
}

func (f *fakeExec) ExecSync(context.Context, string, []string, time.Duration) (stdout, stderr []byte, code int32, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Now())
	code = f.codes[0]
	if len(f.codes) > 1 {
		f.codes = f.codes[1:]
	}
	if code < 0 {
		return nil, nil, 0, errors.New("no such container")
	}
	return []byte("said "), []byte(fmt.Sprint(code)), code, nil
}

type fakeEvents struct {
	mu  sync.Mutex
	all []string
}

func (f *fakeEvents) Event(_ *corev1.Pod, container, _, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, container+" "+reason+" "+message)
}

func probe(delay, period, success, failure int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:        corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}},
		InitialDelaySeconds: delay, PeriodSeconds: period, SuccessThreshold: success, FailureThreshold: failure, TimeoutSeconds: 1,
	}
}

// after runs probes of one container for a while in fake time and answers what is known then.
func after(t *testing.T, spec *corev1.Container, exec *fakeExec, events *fakeEvents, wait time.Duration) (out Health) {
	synctest.Test(t, func(t *testing.T) {
		set := NewSet(exec, events, func() {})
		set.Sync(t.Context(), &corev1.Pod{}, nil, []Running{{ID: "1", Spec: spec, Started: time.Now()}}, false)
		time.Sleep(wait)
		synctest.Wait()
		out = set.Health()["1"]
		set.Close()
	})
	return out
}

func TestThresholdsAndTiming(t *testing.T) {
	ready := func(p *corev1.Probe) *corev1.Container { return &corev1.Container{Name: "c", ReadinessProbe: p} }
	live := func(p *corev1.Probe) *corev1.Container { return &corev1.Container{Name: "c", LivenessProbe: p} }
	start := func(p *corev1.Probe) *corev1.Container { return &corev1.Container{Name: "c", StartupProbe: p} }
	good, unready := Health{Started: true, Ready: true}, Health{Started: true}
	for _, c := range []struct {
		name  string
		spec  *corev1.Container
		codes []int32
		wait  time.Duration
		want  Health
	}{
		{"no probe", &corev1.Container{}, []int32{0}, 0, good},
		{"ready at once", ready(probe(0, 10, 1, 3)), []int32{0}, time.Second, good},
		{"not before its delay", ready(probe(5, 10, 1, 3)), []int32{0}, 4 * time.Second, unready},
		{"but after it", ready(probe(5, 10, 1, 3)), []int32{0}, 6 * time.Second, good},
		{"two successes are wanted", ready(probe(0, 10, 2, 3)), []int32{0}, 5 * time.Second, unready},
		{"and came", ready(probe(0, 10, 2, 3)), []int32{0}, 11 * time.Second, good},
		{"a success between failures doesn't count", ready(probe(0, 1, 2, 3)), []int32{0, 1, 0, 1}, 10 * time.Second, unready},
		{"ready until the third failure", ready(probe(0, 1, 1, 3)), []int32{0, 1, 1, 1}, 2500 * time.Millisecond, good},
		{"which comes", ready(probe(0, 1, 1, 3)), []int32{0, 1, 1, 1}, 3500 * time.Millisecond, unready},
		{"alive at first", live(probe(0, 1, 1, 3)), []int32{1}, 1500 * time.Millisecond, good},
		{"dead at the third failure", live(probe(0, 1, 1, 3)), []int32{1}, 3 * time.Second, Health{Started: true, Ready: true, Dead: "liveness"}},
		{"an error is not a failure", live(probe(0, 1, 1, 1)), []int32{-1}, 5 * time.Second, good},
		{"not started yet", start(probe(0, 1, 1, 5)), []int32{1}, 2 * time.Second, Health{}},
		{"started", start(probe(0, 1, 1, 5)), []int32{1, 1, 0}, 3 * time.Second, good},
		{"never started", start(probe(0, 1, 1, 3)), []int32{1}, 3 * time.Second, Health{Dead: "startup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := after(t, c.spec, &fakeExec{codes: c.codes}, &fakeEvents{}, c.wait); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestOthersWaitForTheStartupProbe(t *testing.T) {
	spec := &corev1.Container{Name: "c", StartupProbe: probe(0, 2, 1, 9), LivenessProbe: probe(0, 1, 1, 1)}
	exec := &fakeExec{codes: []int32{1, 1, 0, 1}}
	if got := after(t, spec, exec, &fakeEvents{}, 5*time.Second); got.Dead != "liveness" {
		t.Errorf("got %+v", got)
	}
	if len(exec.times) != 4 {
		t.Errorf("%d attempts", len(exec.times))
	}
}

func TestEvents(t *testing.T) {
	events := &fakeEvents{}
	after(t, &corev1.Container{Name: "c", ReadinessProbe: probe(0, 10, 1, 3)}, &fakeExec{codes: []int32{3}}, events, time.Second)
	if want := []string{"c Unhealthy Readiness probe failed: said 3"}; !slices.Equal(events.all, want) {
		t.Errorf("got %q", events.all)
	}
}

func TestReplacedContainerIsProbedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		set := NewSet(&fakeExec{codes: []int32{0}}, &fakeEvents{}, func() { changes++ })
		spec := &corev1.Container{ReadinessProbe: probe(0, 1, 1, 1)}
		set.Sync(t.Context(), &corev1.Pod{}, nil, []Running{{ID: "1", Spec: spec, Started: time.Now()}}, false)
		synctest.Wait()
		set.Sync(t.Context(), &corev1.Pod{}, nil, []Running{{ID: "2", Spec: spec, Started: time.Now()}}, false)
		synctest.Wait()
		if h := set.Health(); len(h) != 1 || !h["2"].Ready {
			t.Errorf("health %+v", h)
		}
		if changes != 2 {
			t.Errorf("%d changes", changes)
		}
		set.Close()
	})
}

func handlers(t *testing.T, address string) (string, int) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return host, number
}

func TestHTTP(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://example.invalid/", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/ok":
			if r.Host != "pod.example" || r.Header.Get("User-Agent") != "kube-probe/1.37" || r.URL.RawQuery != "" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/query":
			if r.URL.Query().Get("a") != "b" {
				w.WriteHeader(http.StatusTeapot)
			}
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	host, number := handlers(t, server.Listener.Addr().String())
	spec := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(number)}}}
	for path, want := range map[string]string{
		"/ok": "", "/here": "", "/away": "", "/query?a=b": "", "/bad": "HTTP probe failed with statuscode: 500",
	} {
		got := httpProbe(t.Context(), Request{Pod: &corev1.Pod{}, Container: spec, PodIPs: []string{host}, UserAgent: "kube-probe/1.37", Action: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromString("web"), Scheme: corev1.URISchemeHTTPS, HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "pod.example"}},
		}})
		if got.ok != (want == "") || got.output != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
	got := httpProbe(t.Context(), Request{Container: spec, Action: &corev1.HTTPGetAction{Port: intstr.FromString("none")}})
	if got.err == nil {
		t.Error("an unknown port is no error")
	}
}

func TestTCPAndGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	states := health.NewServer()
	states.SetServingStatus("bad", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, states)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() { server.Stop(); <-ended }()
	host, number := handlers(t, listener.Addr().String())
	if got := tcpProbe(t.Context(), &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(number))}, nil, []string{host}, time.Second); !got.ok {
		t.Errorf("tcp: %+v", got)
	}
	if got := grpcProbe(t.Context(), &corev1.GRPCAction{Port: int32(number)}, []string{host}, time.Second); !got.ok {
		t.Errorf("grpc: %+v", got)
	}
	bad := "bad"
	got := grpcProbe(t.Context(), &corev1.GRPCAction{Port: int32(number), Service: &bad}, []string{host}, time.Second)
	if got.ok || got.output != `service unhealthy (responded with "NOT_SERVING")` {
		t.Errorf("grpc: %+v", got)
	}
	if got := tcpProbe(t.Context(), &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}, nil, []string{host}, time.Second); got.ok || !strings.Contains(got.output, "connection refused") {
		t.Errorf("tcp: %+v", got)
	}
}
