package differential

import (
	"context"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	"skiff/scheduler/cache"
	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
	"skiff/scheduler/queue"
)

// engine is skiff's plugins, framework and cache without queue and binding.
type engine struct {
	cache     *cache.Cache
	framework *framework.Framework
}

// idle is the background of an engine that evicts nothing.
type idle struct{ t testing.TB }

// Go fails: there is nothing to do beside.
func (i idle) Go(func(context.Context)) { i.t.Error("skiff's engine wants to evict a pod") }

// Activate does nothing: there is no queue.
func (idle) Activate(types.UID) {}

func newEngine(t testing.TB, client kubernetes.Interface) *engine {
	t.Helper()
	factory := informers.NewSharedInformerFactory(client, 0)
	nominations := queue.NewNominator()
	enabled := plugins.Default(plugins.Deps{
		Client: client, Informers: factory, Recorder: events.NewFakeRecorder(1), Background: idle{t}, Nominations: nominations, Devices: plugins.NewDevices(factory),
	})
	fw, err := framework.New(enabled, nominations)
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(t.Context())
	factory.WaitForCacheSyncWithContext(t.Context())
	t.Cleanup(factory.Shutdown)
	return &engine{cache: cache.New(), framework: fw}
}

func (e *engine) place(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	e.cache.SetPod(view(t, pod))
}

func view(t testing.TB, pod *corev1.Pod) *framework.PodInfo {
	t.Helper()
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// verdict is what an engine thinks of a pod.
type verdict struct {
	feasible []string         // sorted
	scores   map[string]int64 // of the feasible nodes, if there is more than one
	why      string           // why there is none
}

// best are the nodes with the highest score, sorted.
func (v verdict) best() []string {
	if len(v.feasible) < 2 {
		return v.feasible
	}
	highest := slices.Max(slices.Collect(maps.Values(v.scores)))
	return slices.DeleteFunc(slices.Clone(v.feasible), func(n string) bool { return v.scores[n] < highest })
}

// ask answers which nodes the pod fits and how they score.
func (e *engine) ask(t testing.TB, pod *corev1.Pod) verdict {
	t.Helper()
	ctx, snapshot := t.Context(), e.cache.Snapshot()
	c := framework.NewCycle(view(t, pod), snapshot)
	diagnosis := framework.NewDiagnosis()
	fits := e.filter(t, c, &diagnosis)
	if len(fits) == 0 {
		_, status := e.framework.PostFilter(ctx, c, diagnosis.Nodes)
		diagnosis.PostFilterMsg = status.Message()
		return verdict{why: (&framework.FitError{NumAllNodes: len(snapshot.Nodes()), Diagnosis: diagnosis}).Error()}
	}
	v := verdict{scores: map[string]int64{}}
	for _, n := range fits {
		v.feasible = append(v.feasible, n.Name())
	}
	slices.Sort(v.feasible)
	if len(fits) == 1 {
		return v
	}
	scores, status := e.framework.Score(ctx, c, fits)
	if !status.IsSuccess() {
		t.Fatal(status.Err())
	}
	for _, s := range scores {
		v.scores[s.Node.Name()] = s.Score
	}
	return v
}

func (e *engine) filter(t testing.TB, c *framework.Cycle, diagnosis *framework.Diagnosis) (fits []*framework.NodeInfo) {
	t.Helper()
	narrowed, _, status := e.framework.PreFilter(t.Context(), c)
	if status.IsRejected() {
		diagnosis.Nodes.SetAbsent(status)
		diagnosis.PreFilterMsg = status.Message()
		return nil
	}
	if !status.IsSuccess() {
		t.Fatal(status.Err())
	}
	for _, node := range c.Snapshot.Nodes() {
		if narrowed != nil && narrowed.NodeNames != nil && !narrowed.NodeNames.Has(node.Name()) {
			continue
		}
		if status := e.framework.FilterWithNominated(t.Context(), c, node); !status.IsSuccess() {
			diagnosis.Nodes.Set(node.Name(), status)
			continue
		}
		fits = append(fits, node)
	}
	return fits
}
