package scheduler

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/scheduler/queue"
)

// workload shapes the i-th pod of a benchmark.
type workload struct {
	name  string
	shape func(pod *corev1.Pod, i int)
}

func workloads() []workload {
	group := &metav1.LabelSelector{MatchLabels: map[string]string{"group": "3"}}
	return []workload{
		{"basic", func(*corev1.Pod, int) {}},
		{"service", func(pod *corev1.Pod, i int) { pod.Labels["service"] = fmt.Sprint(i % services) }},
		{"spread", func(pod *corev1.Pod, _ int) {
			pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
				MaxSkew: 5, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: group,
			}}
		}},
		{"antiaffinity", func(pod *corev1.Pod, _ int) {
			pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{
					MatchLabels: map[string]string{"pod": pod.Labels["pod"]},
				}}},
			}}
		}},
	}
}

// services select the pods of the workload of that name, so that these are spread softly, as those of Deployments are.
const services = 20

// podsPerNode are there all the time: with every pod that is placed the oldest goes.
const podsPerNode = 10

// BenchmarkEngine measures deciding and assuming alone: no API, no queue.
func BenchmarkEngine(b *testing.B) {
	for _, w := range workloads() {
		for _, nodes := range []int{100, 1000, 5000, 15000} {
			b.Run(fmt.Sprintf("%s/nodes=%d", w.name, nodes), func(b *testing.B) { benchmarkEngine(b, w, nodes) })
		}
	}
}

func benchmarkEngine(b *testing.B, w workload, nodes int) {
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	s, err := New(Config{}, Deps{Client: client, Informers: factory})
	if err != nil {
		b.Fatal(err)
	}
	for i := range services {
		name := fmt.Sprint(i)
		if err := factory.Core().V1().Services().Informer().GetStore().Add(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"service": name}},
		}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range nodes {
		s.nodeChanged(nil, benchNode(i))
	}
	placed := make([]types.UID, nodes*podsPerNode)
	for i := range placed {
		pod := benchPod(i)
		w.shape(pod, i)
		pod.Spec.NodeName = benchNode((i + i/nodes) % nodes).Name
		s.cache.SetPod(s.info(pod))
		placed[i] = pod.UID
	}
	place := func(i int) {
		pod := benchPod(i)
		w.shape(pod, i)
		a := &attempt{queued: &queue.Pod{Info: s.info(pod)}}
		if _, failed := s.try(b.Context(), a); failed != nil {
			b.Fatal(failed.status.Message())
		}
		slot := i % len(placed)
		s.cache.RemovePod(placed[slot])
		placed[slot] = pod.UID
	}
	b.ReportAllocs()
	n, used := len(placed), cpu(b)
	for b.Loop() {
		place(n)
		n++
	}
	b.ReportMetric(float64(n-len(placed))/b.Elapsed().Seconds(), "pods/s")
	b.ReportMetric(float64(n-len(placed))/(cpu(b)-used).Seconds(), "pods/cpu-s")
}

// cpu is the time that the process has used: what others do at the same time counts little there.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchNode(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3), corev1.LabelOSStable: "linux",
		}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"), corev1.ResourcePods: resource.MustParse("110"),
		}},
	}
}

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("pod-%d", i), Namespace: "default", UID: types.UID(fmt.Sprintf("uid-%d", i)),
			Labels: map[string]string{"group": fmt.Sprint(i % 10), "pod": fmt.Sprint(i % 100)},
		},
		Spec: corev1.PodSpec{SchedulerName: DefaultName, Containers: []corev1.Container{{
			Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("500Mi"),
			}},
		}}},
	}
}
