package plugins_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"skiff/scheduler/cache"
	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
	"skiff/scheduler/queue"
)

// nodeOpt and podOpt change an object under construction.
type nodeOpt func(*corev1.Node)

type podOpt func(*corev1.Pod)

func makeNode(name string, opts ...nodeOpt) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status:     corev1.NodeStatus{Allocatable: resources("cpu", "4", "memory", "4Gi", "pods", "10")},
	}
	for _, o := range opts {
		o(n)
	}
	return n
}

func labels(pairs ...string) nodeOpt {
	return func(n *corev1.Node) {
		for i := 0; i < len(pairs); i += 2 {
			n.Labels[pairs[i]] = pairs[i+1]
		}
	}
}

func taint(key, value string, effect corev1.TaintEffect) nodeOpt {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

func allocatable(pairs ...string) nodeOpt {
	return func(n *corev1.Node) { n.Status.Allocatable = resources(pairs...) }
}

func image(name string, mb int64) nodeOpt {
	return func(n *corev1.Node) {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{name}, SizeBytes: mb * 1024 * 1024})
	}
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func resources(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func makePod(name string, opts ...podOpt) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{}},
		Spec:       corev1.PodSpec{SchedulerName: "default-scheduler", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	for _, o := range opts {
		o(p)
	}
	return p
}

func requests(pairs ...string) podOpt {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = resources(pairs...) }
}

func at(node string) podOpt { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func podLabels(pairs ...string) podOpt {
	return func(p *corev1.Pod) {
		for i := 0; i < len(pairs); i += 2 {
			p.Labels[pairs[i]] = pairs[i+1]
		}
	}
}

func priority(n int32) podOpt { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func tolerate(key string, op corev1.TolerationOperator, value string) podOpt {
	return func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: key, Operator: op, Value: value})
	}
}

func hostPort(ip string, port int32, protocol corev1.Protocol) podOpt {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostIP: ip, HostPort: port, Protocol: protocol})
	}
}

func selectNodes(pairs ...string) podOpt {
	return func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			p.Spec.NodeSelector[pairs[i]] = pairs[i+1]
		}
	}
}

func affinity(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

func requireNodes(terms ...corev1.NodeSelectorTerm) podOpt {
	return func(p *corev1.Pod) {
		affinity(p).NodeAffinity = &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}
	}
}

func expr(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
}

func field(values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
		{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: values},
	}}
}

func preferNodes(weight int32, term corev1.NodeSelectorTerm) podOpt {
	return func(p *corev1.Pod) {
		a := affinity(p)
		if a.NodeAffinity == nil {
			a.NodeAffinity = &corev1.NodeAffinity{}
		}
		a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(
			a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution, corev1.PreferredSchedulingTerm{Weight: weight, Preference: term})
	}
}

func podTerm(key string, pairs ...string) corev1.PodAffinityTerm {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: m}}
}

func near(t corev1.PodAffinityTerm) podOpt {
	return func(p *corev1.Pod) {
		affinity(p).PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{t}}
	}
}

func away(t corev1.PodAffinityTerm) podOpt {
	return func(p *corev1.Pod) {
		affinity(p).PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{t}}
	}
}

func preferNear(weight int32, t corev1.PodAffinityTerm) podOpt {
	return func(p *corev1.Pod) {
		affinity(p).PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: t}}}
	}
}

func preferAway(weight int32, t corev1.PodAffinityTerm) podOpt {
	return func(p *corev1.Pod) {
		affinity(p).PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: t}}}
	}
}

func spread(skew int32, key string, when corev1.UnsatisfiableConstraintAction, change ...func(*corev1.TopologySpreadConstraint)) podOpt {
	return func(p *corev1.Pod) {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: when, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}},
		}
		for _, f := range change {
			f(&c)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

// world is a cluster with the default plugins on it.
type world struct {
	t         *testing.T
	framework *framework.Framework
	cache     *cache.Cache
	nominator *queue.Nominator
	client    *fake.Clientset
	factory   informers.SharedInformerFactory
	devices   *plugins.Devices
	args      map[string]runtime.Object
}

func newWorld(t *testing.T, nodes []*corev1.Node, pods ...*corev1.Pod) *world {
	t.Helper()
	client := fake.NewClientset()
	w := &world{t: t, cache: cache.New(), nominator: queue.NewNominator(), client: client, factory: informers.NewSharedInformerFactory(client, 0)}
	w.devices = plugins.NewDevices(w.factory)
	fw, err := framework.New(plugins.Default(w.deps()), w.nominator)
	if err != nil {
		t.Fatal(err)
	}
	w.framework = fw
	for _, n := range nodes {
		w.cache.SetNode(n)
	}
	for _, p := range pods {
		w.cache.SetPod(info(t, p))
		if err := w.factory.Core().V1().Pods().Informer().GetStore().Add(p); err != nil {
			t.Fatal(err)
		}
		if err := client.Tracker().Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) deps() plugins.Deps {
	return plugins.Deps{Client: w.client, Informers: w.factory, Background: background{}, Nominations: w.nominator, Recorder: silent{}, Devices: w.devices}
}

// background runs work at once.
type background struct{}

func (background) Go(work func(context.Context)) { work(context.Background()) }
func (background) Activate(types.UID)            {}

func info(t *testing.T, p *corev1.Pod) *framework.PodInfo {
	t.Helper()
	pi, err := framework.NewPodInfo(p)
	if err != nil {
		t.Fatal(err)
	}
	return pi
}

// verdicts answers "" for a node the pod fits, else the code's initial and the reasons, as "U: reason" or "UU: reason".
func (w *world) verdicts(pod *corev1.Pod) map[string]string {
	w.t.Helper()
	c := framework.NewCycle(info(w.t, pod), w.cache.Snapshot())
	result, _, s := w.framework.PreFilter(w.t.Context(), c)
	verdicts := map[string]string{}
	for _, n := range c.Snapshot.Nodes() {
		switch {
		case !s.IsSuccess():
			verdicts[n.Name()] = describe(s)
		case result != nil && result.NodeNames != nil && !result.NodeNames.Has(n.Name()):
			verdicts[n.Name()] = "excluded"
		default:
			verdicts[n.Name()] = describe(w.framework.FilterWithNominated(w.t.Context(), c, n))
		}
	}
	return verdicts
}

func describe(s *framework.Status) string {
	switch s.Code() {
	case framework.Success:
		return ""
	case framework.Unschedulable:
		return "U: " + s.Message()
	case framework.UnschedulableAndUnresolvable:
		return "UU: " + s.Message()
	default:
		return s.Code().String() + ": " + s.Message()
	}
}

// scores answers one plugin's normalized scores of all nodes.
func (w *world) scores(plugin string, pod *corev1.Pod) map[string]int64 {
	w.t.Helper()
	c := framework.NewCycle(info(w.t, pod), w.cache.Snapshot())
	if _, _, s := w.framework.PreFilter(w.t.Context(), c); !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	var only []framework.Enabled
	for _, e := range w.plugins() {
		if _, scores := e.Plugin.(framework.Score); scores && e.Plugin.Name() != plugin {
			continue
		}
		e.Weight = min(e.Weight, 1)
		only = append(only, e)
	}
	fw, err := framework.New(only, w.nominator)
	if err != nil {
		w.t.Fatal(err)
	}
	scores, s := fw.Score(w.t.Context(), c, c.Snapshot.Nodes())
	if !s.IsSuccess() {
		w.t.Fatal(s.Message())
	}
	m := map[string]int64{}
	for _, n := range scores {
		m[n.Node.Name()] = n.Score
	}
	return m
}

const (
	fits         = ""
	noSelector   = "UU: node(s) didn't match Pod's node affinity/selector"
	untolerated  = "UU: node(s) had untolerated taint(s)"
	portTaken    = "U: node(s) didn't have free ports for the requested pod ports"
	skewed       = "U: node(s) didn't match pod topology spread constraints"
	keyless      = "UU: node(s) didn't match pod topology spread constraints (missing required label)"
	notNear      = "UU: node(s) didn't match pod affinity rules"
	notAway      = "U: node(s) didn't match pod anti-affinity rules"
	existingAnti = "U: node(s) didn't satisfy existing pods anti-affinity rules"
)

func TestFilters(t *testing.T) {
	a, b := makeNode("a"), makeNode("b")
	zoned := []*corev1.Node{makeNode("a1", labels("zone", "a")), makeNode("a2", labels("zone", "a")), makeNode("b1", labels("zone", "b"))}
	appA := podLabels("app", "a")
	minDomains := func(n int32) func(*corev1.TopologySpreadConstraint) {
		return func(c *corev1.TopologySpreadConstraint) { c.MinDomains = &n }
	}
	ignoreAffinity := func(c *corev1.TopologySpreadConstraint) {
		ignore := corev1.NodeInclusionPolicyIgnore
		c.NodeAffinityPolicy = &ignore
	}
	honorTaints := func(c *corev1.TopologySpreadConstraint) {
		honor := corev1.NodeInclusionPolicyHonor
		c.NodeTaintsPolicy = &honor
	}
	for _, test := range []struct {
		name  string
		nodes []*corev1.Node
		there []*corev1.Pod
		pod   *corev1.Pod
		want  map[string]string
	}{
		{"no demands", []*corev1.Node{a, b}, nil, makePod("p"), map[string]string{"a": fits, "b": fits}},
		{"node name", []*corev1.Node{a, b}, nil, makePod("p", at("a")), map[string]string{"a": fits, "b": "UU: node(s) didn't match the requested node name"}},
		{"features that only one declares", []*corev1.Node{makeNode("a"), makeNode("b", declares("RestartAllContainersOnContainerExits"))}, nil,
			makePod("p", restartsAll), map[string]string{"a": "UU: node(s) didn't match Pod's required features", "b": fits}},
		{"cordoned", []*corev1.Node{makeNode("a", cordoned)}, nil, makePod("p"), map[string]string{"a": "UU: node(s) were unschedulable"}},
		{"cordoned, tolerated", []*corev1.Node{makeNode("a", cordoned)}, nil, makePod("p", tolerate(corev1.TaintNodeUnschedulable, corev1.TolerationOpExists, "")), map[string]string{"a": fits}},
		{"taints", []*corev1.Node{
			makeNode("hard", taint("k", "v", corev1.TaintEffectNoSchedule)), makeNode("out", taint("k", "v", corev1.TaintEffectNoExecute)),
			makeNode("soft", taint("k", "v", corev1.TaintEffectPreferNoSchedule)),
		}, nil, makePod("p"), map[string]string{"hard": untolerated, "out": untolerated, "soft": fits}},
		{"taint by value", []*corev1.Node{makeNode("a", taint("k", "v", corev1.TaintEffectNoSchedule)), makeNode("b", taint("k", "w", corev1.TaintEffectNoSchedule))}, nil,
			makePod("p", tolerate("k", corev1.TolerationOpEqual, "v")), map[string]string{"a": fits, "b": untolerated}},
		// The gate TaintTolerationComparisonOperators is off: such a toleration tolerates nothing.
		{"taint by order", []*corev1.Node{makeNode("a", taint("sla", "950", corev1.TaintEffectNoSchedule)), makeNode("b", taint("sla", "900", corev1.TaintEffectNoSchedule))}, nil,
			makePod("p", tolerate("sla", corev1.TolerationOpGt, "920")), map[string]string{"a": untolerated, "b": untolerated}},
		{"node selector", []*corev1.Node{makeNode("a", labels("disk", "ssd")), b}, nil, makePod("p", selectNodes("disk", "ssd")), map[string]string{"a": fits, "b": noSelector}},
		{"affinity terms are or-ed", []*corev1.Node{makeNode("a", labels("x", "1")), makeNode("b", labels("y", "5")), makeNode("c")}, nil,
			makePod("p", requireNodes(expr("x", corev1.NodeSelectorOpIn, "1"), expr("y", corev1.NodeSelectorOpGt, "4"))), map[string]string{"a": fits, "b": fits, "c": noSelector}},
		{"affinity by name", []*corev1.Node{a, b}, nil, makePod("p", requireNodes(field("b"))), map[string]string{"a": "excluded", "b": fits}},
		{"no term matches nothing", []*corev1.Node{a}, nil, makePod("p", requireNodes()), map[string]string{"a": noSelector}},
		{"ports", []*corev1.Node{a, b}, []*corev1.Pod{makePod("x", at("a"), hostPort("", 80, ""))},
			makePod("p", hostPort("10.0.0.1", 80, "TCP")), map[string]string{"a": portTaken, "b": fits}},
		{"ports of other addresses and protocols", []*corev1.Node{a}, []*corev1.Pod{makePod("x", at("a"), hostPort("10.0.0.1", 80, ""), hostPort("", 81, "UDP"))},
			makePod("p", hostPort("10.0.0.2", 80, ""), hostPort("", 81, "TCP")), map[string]string{"a": fits}},
		{"resources", []*corev1.Node{makeNode("cpu", allocatable("cpu", "1", "memory", "4Gi", "pods", "9")), makeNode("used"), makeNode("small", allocatable("cpu", "1", "memory", "1Gi", "pods", "0"))},
			[]*corev1.Pod{makePod("x", at("used"), requests("cpu", "3"))}, makePod("p", requests("cpu", "2", "memory", "2Gi")), map[string]string{
				"cpu": "UU: Insufficient cpu", "used": "U: Insufficient cpu", "small": "UU: Too many pods, Insufficient cpu, Insufficient memory",
			}},
		{"extended resource", []*corev1.Node{makeNode("gpu", allocatable("cpu", "1", "pods", "9", "example.com/gpu", "1")), makeNode("none")}, nil,
			makePod("p", requests("example.com/gpu", "1")), map[string]string{"gpu": fits, "none": "UU: Insufficient example.com/gpu"}},
		{"zero request fits a full node", []*corev1.Node{makeNode("a", allocatable("cpu", "1", "pods", "9"))}, []*corev1.Pod{makePod("x", at("a"), requests("cpu", "1"))}, makePod("p"), map[string]string{"a": fits}},

		{"spread over zones", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", appA, spread(1, "zone", corev1.DoNotSchedule)),
			map[string]string{"a1": skewed, "a2": skewed, "b1": fits}},
		{"spread counts only live pods of the namespace", zoned, []*corev1.Pod{
			makePod("x", at("a1"), appA, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), makePod("y", at("a1"), appA, func(p *corev1.Pod) { p.Namespace = "other" }),
		}, makePod("p", appA, spread(1, "zone", corev1.DoNotSchedule)), map[string]string{"a1": fits, "a2": fits, "b1": fits}},
		{"spread of a pod that isn't counted itself", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", spread(1, "zone", corev1.DoNotSchedule)),
			map[string]string{"a1": fits, "a2": fits, "b1": fits}},
		{"spread needs the label", []*corev1.Node{zoned[0], a}, nil, makePod("p", appA, spread(1, "zone", corev1.DoNotSchedule)), map[string]string{"a1": fits, "a": keyless}},
		{"soft spread filters nothing", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", appA, spread(1, "zone", corev1.ScheduleAnyway)),
			map[string]string{"a1": fits, "a2": fits, "b1": fits}},
		{"minDomains", zoned, []*corev1.Pod{makePod("x", at("a1"), appA), makePod("y", at("b1"), appA)}, makePod("p", appA, spread(1, "zone", corev1.DoNotSchedule, minDomains(3))),
			map[string]string{"a1": skewed, "a2": skewed, "b1": skewed}},
		{"spread honors affinity", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", appA, selectNodes("zone", "a"), spread(1, "zone", corev1.DoNotSchedule)),
			map[string]string{"a1": fits, "a2": fits, "b1": noSelector}},
		{"spread ignores affinity", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", appA, selectNodes("zone", "a"), spread(1, "zone", corev1.DoNotSchedule, ignoreAffinity)),
			map[string]string{"a1": skewed, "a2": skewed, "b1": noSelector}},
		{"spread honors taints", []*corev1.Node{zoned[0], makeNode("b1", labels("zone", "b"), taint("k", "", corev1.TaintEffectNoSchedule))}, []*corev1.Pod{makePod("x", at("a1"), appA)},
			makePod("p", appA, spread(1, "zone", corev1.DoNotSchedule, honorTaints)), map[string]string{"a1": fits, "b1": untolerated}},

		{"near", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", near(podTerm("zone", "app", "a"))), map[string]string{"a1": fits, "a2": fits, "b1": notNear}},
		{"first of its group", zoned, nil, makePod("p", appA, near(podTerm("zone", "app", "a"))), map[string]string{"a1": fits, "a2": fits, "b1": fits}},
		{"nobody to be near", zoned, nil, makePod("p", near(podTerm("zone", "app", "a"))), map[string]string{"a1": notNear, "a2": notNear, "b1": notNear}},
		{"away", zoned, []*corev1.Pod{makePod("x", at("a1"), appA)}, makePod("p", away(podTerm("zone", "app", "a"))), map[string]string{"a1": notAway, "a2": notAway, "b1": fits}},
		{"they stay away", zoned, []*corev1.Pod{makePod("x", at("a1"), away(podTerm("zone", "app", "a")))}, makePod("p", appA), map[string]string{"a1": existingAnti, "a2": existingAnti, "b1": fits}},
		{"away in another namespace", zoned, []*corev1.Pod{makePod("x", at("a1"), appA, func(p *corev1.Pod) { p.Namespace = "other" })}, makePod("p", away(podTerm("zone", "app", "a"))),
			map[string]string{"a1": fits, "a2": fits, "b1": fits}},
		{"away in all namespaces", zoned, []*corev1.Pod{makePod("x", at("a1"), appA, func(p *corev1.Pod) { p.Namespace = "other" })},
			makePod("p", away(func() corev1.PodAffinityTerm {
				term := podTerm("zone", "app", "a")
				term.NamespaceSelector = &metav1.LabelSelector{}
				return term
			}())), map[string]string{"a1": notAway, "a2": notAway, "b1": fits}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := newWorld(t, test.nodes, test.there...).verdicts(test.pod)
			for name, want := range test.want {
				if got[name] != want {
					t.Errorf("node %s: %q, want %q", name, got[name], want)
				}
			}
		})
	}
}

func TestConflictingNames(t *testing.T) {
	term := field("a")
	term.MatchFields = append(term.MatchFields, field("b").MatchFields...)
	got := newWorld(t, []*corev1.Node{makeNode("a")}).verdicts(makePod("p", requireNodes(term)))
	if got["a"] != "UU: pod affinity terms conflict" {
		t.Errorf("got %q", got["a"])
	}
}

func TestScores(t *testing.T) {
	two := []*corev1.Node{makeNode("a"), makeNode("b")}
	appA := podLabels("app", "a")
	for _, test := range []struct {
		name, plugin string
		nodes        []*corev1.Node
		there        []*corev1.Pod
		pod          *corev1.Pod
		want         map[string]int64
	}{
		// (4000-2000)/4000 cpu, (4096-1024)/4096 memory: (50+75)/2; with 1000m used on b: (25+75-4.88)/2 .
		{"least allocated", "NodeResourcesFit", two, []*corev1.Pod{makePod("x", at("b"), requests("cpu", "1", "memory", "1Gi"))},
			makePod("p", requests("cpu", "2", "memory", "1Gi")), map[string]int64{"a": 62, "b": 37}},
		{"requests left out count with defaults", "NodeResourcesFit", two[:1], nil, makePod("p"), map[string]int64{"a": (97 + 95) / 2}},
		// 75 where the pod changes nothing: on a the shares are equal before and after, on b they differ by a half both times.
		{"balanced", "NodeResourcesBalancedAllocation", two, []*corev1.Pod{makePod("x", at("b"), requests("cpu", "2"))},
			makePod("p", requests("cpu", "1", "memory", "1Gi")), map[string]int64{"a": 75, "b": 75}},
		// On a the shares get as far apart as 1/4 (100 to 87), on b the gap of 1/2 closes to 1/4 (75 to 87).
		{"balance gets worse and better", "NodeResourcesBalancedAllocation", two, []*corev1.Pod{makePod("x", at("b"), requests("memory", "2Gi"))},
			makePod("p", requests("cpu", "1")), map[string]int64{"a": 50 + (50+87-100)/2, "b": 50 + (50+87-75)/2}},
		{"balance of what the node has", "NodeResourcesBalancedAllocation", []*corev1.Node{makeNode("a", allocatable("cpu", "4", "pods", "9"))}, nil,
			makePod("p", requests("cpu", "1")), map[string]int64{"a": 75}},
		{"best effort isn't balanced", "NodeResourcesBalancedAllocation", two, nil, makePod("p"), map[string]int64{"a": 0, "b": 0}},
		{"soft taints", "TaintToleration", []*corev1.Node{
			makeNode("a", taint("x", "", corev1.TaintEffectPreferNoSchedule), taint("y", "", corev1.TaintEffectPreferNoSchedule)),
			makeNode("b", taint("x", "", corev1.TaintEffectPreferNoSchedule)), makeNode("c"),
		}, nil, makePod("p"), map[string]int64{"a": 0, "b": 50, "c": 100}},
		{"preferred nodes", "NodeAffinity", []*corev1.Node{makeNode("a", labels("x", "1")), makeNode("b", labels("x", "1", "y", "1")), makeNode("c")}, nil,
			makePod("p", preferNodes(1, expr("x", corev1.NodeSelectorOpIn, "1")), preferNodes(3, expr("y", corev1.NodeSelectorOpExists))), map[string]int64{"a": 25, "b": 100, "c": 0}},
		// 250 MB on one node of two counts half: (125-23)/(1000-23).
		{"images", "ImageLocality", []*corev1.Node{makeNode("a", image("i:latest", 250)), makeNode("b")}, nil, makePod("p"), map[string]int64{"a": 10, "b": 0}},
		{"near preferred", "InterPodAffinity", two, []*corev1.Pod{makePod("x", at("a"), appA)}, makePod("p", preferNear(10, podTerm(corev1.LabelHostname, "app", "a"))), map[string]int64{"a": 100, "b": 0}},
		{"away preferred", "InterPodAffinity", two, []*corev1.Pod{makePod("x", at("a"), appA)}, makePod("p", preferAway(10, podTerm(corev1.LabelHostname, "app", "a"))), map[string]int64{"a": 0, "b": 100}},
		{"required affinity of others draws", "InterPodAffinity", two, []*corev1.Pod{makePod("x", at("a"), appA, near(podTerm(corev1.LabelHostname, "app", "a")))}, makePod("p", appA), map[string]int64{"a": 100, "b": 0}},
		{"soft spread", "PodTopologySpread", two, []*corev1.Pod{makePod("x", at("a"), appA)}, makePod("p", appA, spread(1, corev1.LabelHostname, corev1.ScheduleAnyway)), map[string]int64{"a": 0, "b": 100}},
		{"soft spread leaves out nodes without the label", "PodTopologySpread", []*corev1.Node{makeNode("a", labels("zone", "z")), makeNode("b")}, nil,
			makePod("p", appA, spread(1, "zone", corev1.ScheduleAnyway)), map[string]int64{"a": 100, "b": 0}},
		{"no service, no default spread", "PodTopologySpread", two, []*corev1.Pod{makePod("x", at("a"), appA)}, makePod("p", appA), map[string]int64{"a": 0, "b": 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := newWorld(t, test.nodes, test.there...).scores(test.plugin, test.pod)
			for name, want := range test.want {
				if got[name] != want {
					t.Errorf("node %s: %d, want %d", name, got[name], want)
				}
			}
		})
	}
}

func TestDefaultSpreadOfAService(t *testing.T) {
	w := newWorld(t, []*corev1.Node{makeNode("a"), makeNode("b")}, makePod("x", at("a"), podLabels("app", "a")))
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "a"}}}
	if err := w.factory.Core().V1().Services().Informer().GetStore().Add(service); err != nil {
		t.Fatal(err)
	}
	got := w.scores("PodTopologySpread", makePod("p", podLabels("app", "a")))
	if got["a"] >= got["b"] {
		t.Errorf("the node that has one already scores %d, the other %d", got["a"], got["b"])
	}
}

func TestPriorityOrder(t *testing.T) {
	s := plugins.PrioritySort{}
	high := framework.Queued{Pod: info(t, makePod("h", priority(5)))}
	low := framework.Queued{Pod: info(t, makePod("l"))}
	if !s.Less(high, low) || s.Less(low, high) {
		t.Error("priority doesn't come first")
	}
}

func TestGatesAreNamed(t *testing.T) {
	p := makePod("p", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}} })
	if got := describe(plugins.SchedulingGates{}.PreEnqueue(p)); got != "UU: waiting for scheduling gates: [a b]" {
		t.Errorf("got %q", got)
	}
}

// keys lists a map's keys in order.
func keys(m map[string]bool) string {
	var k []string
	for name := range m {
		k = append(k, name)
	}
	slices.Sort(k)
	return strings.Join(k, ",")
}

func contains(s, sub string) bool { return strings.Contains(s, sub) }
