package plugins_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

// configure replaces the world's plugins by ones with arguments of their own.
func (w *world) configure(args ...runtime.Object) {
	w.t.Helper()
	byName := map[string]runtime.Object{}
	for _, a := range args {
		switch a.(type) {
		case *schedv1.NodeAffinityArgs:
			byName["NodeAffinity"] = a
		case *schedv1.NodeResourcesFitArgs:
			byName["NodeResourcesFit"] = a
		case *schedv1.NodeResourcesBalancedAllocationArgs:
			byName["NodeResourcesBalancedAllocation"] = a
		case *schedv1.PodTopologySpreadArgs:
			byName["PodTopologySpread"] = a
		case *schedv1.InterPodAffinityArgs:
			byName["InterPodAffinity"] = a
		case *schedv1.DefaultPreemptionArgs:
			byName["DefaultPreemption"] = a
		default:
			w.t.Fatalf("no plugin takes %T", a)
		}
	}
	w.args = byName
	fw, err := framework.New(w.plugins(), w.nominator)
	if err != nil {
		w.t.Fatal(err)
	}
	w.framework = fw
}

// plugins are the default ones with the world's arguments.
func (w *world) plugins() []framework.Enabled {
	w.t.Helper()
	own, err := plugins.Configured(w.deps(), plugins.Default(w.deps()), w.args)
	if err != nil {
		w.t.Fatal(err)
	}
	return own
}

func fit(s *schedv1.ScoringStrategy) *schedv1.NodeResourcesFitArgs {
	return &schedv1.NodeResourcesFitArgs{ScoringStrategy: s}
}

func TestScoresOfArguments(t *testing.T) {
	two := []*corev1.Node{makeNode("a"), makeNode("b")}
	used := []*corev1.Pod{makePod("x", at("b"), requests("cpu", "1", "memory", "1Gi"))}
	small := makePod("p", requests("cpu", "1", "memory", "1Gi"))
	gpus := []*corev1.Node{makeNode("a", allocatable("cpu", "4", "memory", "4Gi", "pods", "110", "x.io/gpu", "4")), makeNode("b")}
	shape := func(points ...int32) *schedv1.RequestedToCapacityRatioParam {
		r := &schedv1.RequestedToCapacityRatioParam{}
		for i := 0; i < len(points); i += 2 {
			r.Shape = append(r.Shape, schedv1.UtilizationShapePoint{Utilization: points[i], Score: points[i+1]})
		}
		return r
	}
	neighbour := []*corev1.Pod{makePod("x", at("a"), near(podTerm(corev1.LabelHostname, "app", "a")))}
	draws := []*corev1.Pod{makePod("x", at("a"), preferNear(5, podTerm(corev1.LabelHostname, "app", "a")))}
	appA := podLabels("app", "a")
	for _, test := range []struct {
		name, plugin string
		args         runtime.Object
		nodes        []*corev1.Node
		there        []*corev1.Pod
		pod          *corev1.Pod
		want         map[string]int64
	}{
		{"most allocated", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.MostAllocated}), two, used, small, map[string]int64{"a": 25, "b": 50}},
		{"most allocated above what there is", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.MostAllocated}), two[:1],
			[]*corev1.Pod{makePod("x", at("a"), requests("cpu", "4", "memory", "4Gi"))}, makePod("p"), map[string]int64{"a": 100}},
		// CPU counts thrice: (3*50+75)/4 on b, whose memory is free but for the pod's.
		{"weights", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.LeastAllocated, Resources: []schedv1.ResourceSpec{{Name: "cpu", Weight: 3}, {Name: "memory", Weight: 1}}}),
			two, []*corev1.Pod{makePod("x", at("b"), requests("cpu", "1", "memory", "0"))}, small, map[string]int64{"a": 75, "b": (3*50 + 75) / 4}},
		{"a resource the pod doesn't want", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.LeastAllocated, Resources: []schedv1.ResourceSpec{{Name: "cpu"}, {Name: "x.io/gpu"}}}),
			gpus, nil, small, map[string]int64{"a": 75, "b": 75}},
		{"a resource the pod wants", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.LeastAllocated, Resources: []schedv1.ResourceSpec{{Name: "cpu"}, {Name: "x.io/gpu"}}}),
			gpus[:1], nil, makePod("p", requests("cpu", "1", "x.io/gpu", "3")), map[string]int64{"a": (75 + 25) / 2}},
		// 25 % used: between 0 at 0 and 10 at 50 lies 5, ten times that; at 50 % 100.
		{"a shape", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.RequestedToCapacityRatio, RequestedToCapacityRatio: shape(0, 0, 50, 10, 100, 0)}),
			two, used, small, map[string]int64{"a": 50, "b": 100}},
		{"a level shape", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.RequestedToCapacityRatio, RequestedToCapacityRatio: shape(30, 4, 40, 7)}),
			two, used, small, map[string]int64{"a": 40, "b": 70}},
		// Memory is rated 0 and left out of the mean.
		{"a shape that rates nothing", "NodeResourcesFit", fit(&schedv1.ScoringStrategy{Type: schedv1.RequestedToCapacityRatio, RequestedToCapacityRatio: shape(25, 0, 50, 10)}),
			two[:1], nil, makePod("p", requests("cpu", "2", "memory", "1Gi")), map[string]int64{"a": 100}},
		// Shares 0.25, 0.25 and 0.75 deviate by 0.2357: 50 + (50+76-100)/2.
		{"three balanced", "NodeResourcesBalancedAllocation", &schedv1.NodeResourcesBalancedAllocationArgs{Resources: []schedv1.ResourceSpec{{Name: "cpu"}, {Name: "memory"}, {Name: "x.io/gpu"}}},
			gpus[:1], nil, makePod("p", requests("cpu", "1", "memory", "1Gi", "x.io/gpu", "3")), map[string]int64{"a": 63}},
		{"one balanced", "NodeResourcesBalancedAllocation", &schedv1.NodeResourcesBalancedAllocationArgs{Resources: []schedv1.ResourceSpec{{Name: "cpu"}}},
			two, used, small, map[string]int64{"a": 75, "b": 75}},
		{"an added preference", "NodeAffinity", &schedv1.NodeAffinityArgs{AddedAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
			{Weight: 2, Preference: expr("y", corev1.NodeSelectorOpExists)},
		}}}, []*corev1.Node{makeNode("a", labels("x", "1")), makeNode("b", labels("y", "1")), makeNode("c", labels("x", "1", "y", "1"))}, nil,
			makePod("p", preferNodes(2, expr("x", corev1.NodeSelectorOpExists))), map[string]int64{"a": 50, "b": 50, "c": 100}},
		{"no weight of required affinity", "InterPodAffinity", &schedv1.InterPodAffinityArgs{HardPodAffinityWeight: ptr.To[int32](0)}, two, neighbour, makePod("p", appA), map[string]int64{"a": 0, "b": 0}},
		{"preferences of others", "InterPodAffinity", &schedv1.InterPodAffinityArgs{}, two, draws, makePod("p", appA), map[string]int64{"a": 100, "b": 0}},
		{"preferences of others aside", "InterPodAffinity", &schedv1.InterPodAffinityArgs{IgnorePreferredTermsOfExistingPods: true}, two, draws, makePod("p", appA), map[string]int64{"a": 0, "b": 0}},
		{"preferences of others with own ones", "InterPodAffinity", &schedv1.InterPodAffinityArgs{IgnorePreferredTermsOfExistingPods: true}, two, draws,
			makePod("p", appA, preferNear(1, podTerm(corev1.LabelHostname, "app", "z"))), map[string]int64{"a": 100, "b": 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.nodes, test.there...)
			w.configure(test.args)
			got := w.scores(test.plugin, test.pod)
			for name, want := range test.want {
				if got[name] != want {
					t.Errorf("node %s: %d, want %d", name, got[name], want)
				}
			}
		})
	}
}

func TestFiltersOfArguments(t *testing.T) {
	const enforced = "UU: node(s) didn't match scheduler-enforced node affinity"
	two := []*corev1.Node{makeNode("a", labels("x", "1")), makeNode("b")}
	added := &schedv1.NodeAffinityArgs{AddedAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{expr("x", corev1.NodeSelectorOpExists)},
	}}}
	gpu := makePod("p", requests("x.io/gpu", "1"))
	for _, test := range []struct {
		name string
		args runtime.Object
		pod  *corev1.Pod
		want map[string]string
	}{
		{"added affinity", added, makePod("p"), map[string]string{"a": fits, "b": enforced}},
		{"added and own", added, makePod("p", selectNodes("y", "1")), map[string]string{"a": noSelector, "b": enforced}},
		{"a resource", &schedv1.NodeResourcesFitArgs{}, gpu, map[string]string{"a": "UU: Insufficient x.io/gpu", "b": "UU: Insufficient x.io/gpu"}},
		{"an ignored resource", &schedv1.NodeResourcesFitArgs{IgnoredResources: []string{"x.io/gpu"}}, gpu, map[string]string{"a": fits, "b": fits}},
		{"an ignored group", &schedv1.NodeResourcesFitArgs{IgnoredResourceGroups: []string{"x.io"}}, gpu, map[string]string{"a": fits, "b": fits}},
		{"another ignored group", &schedv1.NodeResourcesFitArgs{IgnoredResourceGroups: []string{"y.io"}}, gpu, map[string]string{"a": "UU: Insufficient x.io/gpu"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, two)
			w.configure(test.args)
			got := w.verdicts(test.pod)
			for name, want := range test.want {
				if got[name] != want {
					t.Errorf("node %s: %q, want %q", name, got[name], want)
				}
			}
		})
	}
}

// TestListedDefaultSpread: hard defaults of the arguments bind pods of a service that name no constraints, and no others.
func TestListedDefaultSpread(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}, makePod("x", at("a"), podLabels("app", "a")))
	service := &corev1.Service{}
	service.Name, service.Namespace = "s", "default"
	service.Spec.Selector = map[string]string{"app": "a"}
	if err := w.factory.Core().V1().Services().Informer().GetStore().Add(service); err != nil {
		t.Fatal(err)
	}
	w.configure(&schedv1.PodTopologySpreadArgs{DefaultingType: schedv1.ListDefaulting, DefaultConstraints: []corev1.TopologySpreadConstraint{
		{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule},
	}})
	if got := w.verdicts(makePod("p", podLabels("app", "a"))); got["a"] != skewed || got["b"] != fits {
		t.Errorf("of the service: %v", got)
	}
	if got := w.verdicts(makePod("p", podLabels("app", "b"))); got["a"] != fits || got["b"] != fits {
		t.Errorf("of none: %v", got)
	}
}

// TestFilterOff: a plugin that is off at Filter alone, and whose PreFilter finds nothing to do for a pod, isn't told of pods
// in what-ifs: it has no state to keep them in.
func TestFilterOff(t *testing.T) {
	for _, off := range []string{"InterPodAffinity", "PodTopologySpread", "VolumeRestrictions"} {
		w := newWorld(t, []*corev1.Node{makeNode("a")})
		points := framework.Everywhere(w.plugins())
		points[framework.PointFilter] = slices.DeleteFunc(points[framework.PointFilter], func(e framework.Enabled) bool { return e.Plugin.Name() == off })
		fw, err := framework.NewProfile(framework.Profile{Plugins: points}, w.nominator)
		if err != nil {
			t.Fatal(err)
		}
		w.framework = fw
		w.nominator.Nominate(info(t, makePod("promised", priority(10))), "a")
		if got := w.verdicts(makePod("p"))["a"]; got != fits {
			t.Errorf("without %s: %q", off, got)
		}
	}
}

func TestConfiguredRefuses(t *testing.T) {
	w := newWorld(t, nil)
	for name, args := range map[string]map[string]runtime.Object{
		"another plugin's":   {"NodeAffinity": &schedv1.NodeResourcesFitArgs{}},
		"where none belong":  {"ImageLocality": &schedv1.NodeResourcesFitArgs{}},
		"what can't be read": {"NodeAffinity": &schedv1.NodeAffinityArgs{AddedAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{expr("x", "Is")}}}}},
	} {
		if _, err := plugins.Configured(w.deps(), plugins.Default(w.deps()), args); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
