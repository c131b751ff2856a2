package metrics

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// epoch is when the tests' nodes booted.
var epoch = time.Unix(1_800_000_000, 0)

func after(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// used is a point: at and cpu in seconds, memory in bytes.
func used(start, at, cpu float64, memory int64) point {
	return point{start: after(start), at: after(at), cpu: time.Duration(cpu * float64(time.Second)), memory: memory}
}

var web = types.NamespacedName{Namespace: "default", Name: "web"}

// TestContainerUsage feeds the points of one container, beside those of its node.
func TestContainerUsage(t *testing.T) {
	for name, c := range map[string]struct {
		points []point // a zero point is a sample without the container
		want   usage   // the zero usage is none
	}{
		"one sample is no rate":                    {[]point{used(-100, 0, 7, 1)}, usage{}},
		"two samples":                              {[]point{used(-100, 0, 7, 1), used(-100, 15, 10, 2)}, usage{cpu: 200_000_000, memory: 2, at: after(15), window: 15 * time.Second}},
		"three samples: the last two":              {[]point{used(-100, 0, 7, 1), used(-100, 15, 10, 2), used(-100, 30, 25, 3)}, usage{cpu: 1_000_000_000, memory: 3, at: after(30), window: 15 * time.Second}},
		"nothing used":                             {[]point{used(-100, 0, 7, 1), used(-100, 15, 7, 2)}, usage{memory: 2, at: after(15), window: 15 * time.Second}},
		"the same reading again keeps the rate":    {[]point{used(-100, 0, 7, 1), used(-100, 15, 10, 2), used(-100, 15, 10, 2)}, usage{cpu: 200_000_000, memory: 2, at: after(15), window: 15 * time.Second}},
		"the same reading of the first":            {[]point{used(-100, 0, 7, 1), used(-100, 0, 7, 1)}, usage{}},
		"an older reading":                         {[]point{used(-100, 15, 7, 1), used(-100, 0, 6, 1)}, usage{}},
		"a counter that fell":                      {[]point{used(-100, 0, 7, 1), used(-100, 15, 1, 2)}, usage{}},
		"a counter that fell, and after":           {[]point{used(-100, 0, 7, 1), used(-100, 15, 1, 2), used(-100, 30, 4, 3)}, usage{cpu: 200_000_000, memory: 3, at: after(30), window: 15 * time.Second}},
		"a sample is missing":                      {[]point{used(-100, 0, 7, 1), {}, used(-100, 30, 10, 2)}, usage{}},
		"restarted lately":                         {[]point{used(-100, 0, 7, 1), used(10, 15, 1, 2)}, usage{}},
		"restarted long enough ago":                {[]point{used(-100, 0, 7, 1), used(3, 15, 6, 2)}, usage{cpu: 500_000_000, memory: 2, at: after(15), window: 12 * time.Second}},
		"restarted, with more used than before":    {[]point{used(-100, 0, 7, 1), used(6, 15, 9, 2)}, usage{}},
		"young at the first sample":                {[]point{used(-12, 0, 6, 1)}, usage{cpu: 500_000_000, memory: 1, at: after(0), window: 12 * time.Second}},
		"too young at the first, sampled again":    {[]point{used(-3, 0, 1, 1), used(-3, 1, 2, 1)}, usage{cpu: 1_000_000_000, memory: 1, at: after(1), window: time.Second}},
		"started since the node was looked at":     {[]point{{}, used(10, 30, 10, 1)}, usage{cpu: 500_000_000, memory: 1, at: after(30), window: 20 * time.Second}},
		"not seen although it ran":                 {[]point{{}, used(-20, 30, 10, 1)}, usage{}},
		"without a start":                          {[]point{{at: after(0), cpu: time.Second, memory: 1}, {at: after(10), cpu: 2 * time.Second, memory: 1}}, usage{cpu: 100_000_000, memory: 1, at: after(10), window: 10 * time.Second}},
		"seen again after a while, without a rate": {[]point{used(-100, 0, 7, 1), {}, used(-100, 30, 10, 2), used(-100, 45, 10, 2)}, usage{memory: 2, at: after(45), window: 15 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			var h history
			for i, p := range c.points {
				s := sample{node: &point{at: after(float64(i) * 15)}, pods: map[types.NamespacedName]map[string]point{}}
				if p != (point{}) {
					s.pods[web] = map[string]point{"c": p}
				}
				h = h.add(s, after(float64(i)*15))
			}
			got, ok := h.pods[web]["c"].usage()
			if got != c.want || ok != (c.want != usage{}) {
				t.Errorf("got %+v, %v; want %+v", got, ok, c.want)
			}
		})
	}
}

func TestNodeUsage(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"a": "b"}}}
	one, two := point{at: after(0), cpu: time.Second, memory: 1 << 20}, point{at: after(10), cpu: 4 * time.Second, memory: 1 << 30}
	var h history
	if _, ok := h.nodeMetrics(node, epoch); ok {
		t.Error("something is known of a node that was not asked")
	}
	first := h.add(sample{node: &one}, after(0))
	if _, ok := first.nodeMetrics(node, epoch); ok {
		t.Error("a rate is known after one sample")
	}
	second := first.add(sample{node: &two}, after(10))
	m, ok := second.nodeMetrics(node, after(11))
	if !ok || m.Name != "n" || m.Labels["a"] != "b" || m.Window.Duration != 10*time.Second || !m.Timestamp.Time.Equal(after(10)) || !m.CreationTimestamp.Time.Equal(after(11)) {
		t.Errorf("got %+v, %v", m, ok)
	}
	if cpu, memory := m.Usage.Cpu().String(), m.Usage.Memory().String(); cpu != "300m" || memory != "1Gi" {
		t.Errorf("cpu %s, memory %s; want 300m, 1Gi", cpu, memory)
	}
	if nodes, containers := second.points(); nodes != 1 || containers != 0 {
		t.Errorf("%d nodes, %d containers", nodes, containers)
	}
	if _, ok := second.add(sample{}, after(20)).nodeMetrics(node, epoch); ok {
		t.Error("a node is known that its kubelet didn't tell of")
	}
	booted := point{at: after(20), cpu: time.Second, memory: 1}
	if _, ok := second.add(sample{node: &booted}, after(20)).nodeMetrics(node, epoch); ok {
		t.Error("a rate is known of a node that has just booted")
	}
	if h.node != nil || first.samples != 1 || second.samples != 2 {
		t.Error("a history changed")
	}
}

func TestPodUsage(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"app": "web"}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	pods := func(containers map[string]point) sample {
		return sample{pods: map[types.NamespacedName]map[string]point{web: containers}}
	}
	h := history{}.add(pods(map[string]point{"b": used(-100, 0, 1, 1), "a": used(-100, 1, 1, 1)}), after(1)).
		add(pods(map[string]point{"b": used(-100, 15, 4, 10), "a": used(-100, 16, 1, 20)}), after(16))
	m, ok := h.podMetrics(pod, after(17))
	var names []string
	for _, c := range m.Containers {
		names = append(names, c.Name)
	}
	if !ok || !reflect.DeepEqual(names, []string{"a", "b"}) || m.Labels["app"] != "web" || !m.Timestamp.Time.Equal(after(15)) {
		t.Errorf("got %+v, %v", m, ok)
	}
	if sum := podUsage(&m); sum.Cpu().String() != "200m" || sum.Memory().Value() != 30 {
		t.Errorf("the sum is %v", sum)
	}
	if _, containers := h.points(); containers != 2 {
		t.Errorf("%d containers", containers)
	}
	if _, ok := h.add(pods(map[string]point{"b": used(-100, 30, 5, 10), "a": used(28, 30, 0, 20)}), after(30)).podMetrics(pod, epoch); ok {
		t.Error("a pod is answered of which one container has no rate")
	}
	done := pod.DeepCopy()
	done.Status.Phase = corev1.PodSucceeded
	if _, ok := h.podMetrics(done, epoch); ok {
		t.Error("a pod is answered that doesn't run")
	}
}

const told = `# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 357.35491 1800000005000
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 1.616273408e+09 1800000004000
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="c",namespace="default",pod="web"} 4.5 1800000005500
container_cpu_usage_seconds_total{container="c",namespace="default",pod="half"} 4.5
container_cpu_usage_seconds_total{container="d",namespace="default",pod="half"} 4.5
container_cpu_usage_seconds_total{container="c",namespace="default",pod="timeless"} 1
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="c",namespace="default",pod="web"} 1.253376e+06 1800000005500
container_memory_working_set_bytes{container="c",namespace="default",pod="half"} 0
container_memory_working_set_bytes{container="c",namespace="default",pod="timeless"} 0
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="c",namespace="default",pod="web"} 1.8e+09 1800000005500
container_start_time_seconds{container="done",namespace="default",pod="web"} 1.7e+09
container_start_time_seconds{container="c",namespace="default",pod="started"} 1.8e+09
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="default",pod="web"} 9
# TYPE resource_scrape_error gauge
resource_scrape_error 0
`

func TestParse(t *testing.T) {
	got, err := parse(strings.NewReader(told), after(99))
	if err != nil {
		t.Fatal(err)
	}
	if n := got.node; n == nil || n.cpu != 357_354_910_000 || n.memory != 1616273408 || !n.at.Equal(after(5)) {
		t.Errorf("the node is %+v", n)
	}
	want := map[string]point{
		"web":      {start: epoch, at: after(5.5), cpu: 4500 * time.Millisecond, memory: 1253376},
		"timeless": {at: after(99), cpu: time.Second},
	}
	for name, p := range want {
		c, ok := got.pods[types.NamespacedName{Namespace: "default", Name: name}]["c"]
		if !ok || !c.at.Equal(p.at) || !c.start.Equal(p.start) || c.cpu != p.cpu || c.memory != p.memory {
			t.Errorf("%s is %+v, want %+v", name, c, p)
		}
	}
	if len(got.pods) != len(want) || len(got.pods[web]) != 1 {
		t.Errorf("pods %v, want %v", got.pods, want)
	}
	if _, err := parse(strings.NewReader("{"), epoch); err == nil {
		t.Error("nonsense is read")
	}
	half, err := parse(strings.NewReader("node_cpu_usage_seconds_total 1\nnode_memory_working_set_bytes NaN\n"), epoch)
	if err != nil || half.node != nil {
		t.Errorf("half a node is %+v, %v", half.node, err)
	}
}
