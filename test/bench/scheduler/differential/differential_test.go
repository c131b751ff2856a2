//go:build bench

// Package differential asks skiff's scheduler and kube-scheduler about the same pods in the same random clusters. It is
// among the benchmarks because it needs kube-scheduler's program, as they do.
package differential

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/bench/sides"
)

var (
	clusters = flag.Int("clusters", 100, "random clusters")
	asked    = flag.Int("pods", 20, "pods to place in each")
	seed     = flag.Uint64("seed", 1, "of the random clusters")
)

const (
	wait = time.Minute
	poll = 2 * time.Millisecond
)

// pair is both engines with the cluster that both look at.
type pair struct {
	client   kubernetes.Interface
	ours     *engine
	theirs   *upstream
	dice     dice
	barriers int
	tally    tally
}

type tally struct{ pods, unfit, feasible, messages, best, scores int }

// TestSameDecisions lets both judge every pod: the nodes it fits must be the same, and what skiff would choose must be
// what kube-scheduler rates highest. Then the pod is where kube-scheduler put it, for both.
func TestSameDecisions(t *testing.T) {
	p := newPair(t)
	for i := range *clusters {
		p.cluster(t, i)
	}
	n := p.tally
	t.Logf("seed %d: %d pods, %d of them fit nowhere; same nodes %d, same best %d, same scores of all nodes %d, same message %d of %d",
		*seed, n.pods, n.unfit, n.feasible, n.best, n.scores, n.messages, n.unfit)
	if n.feasible < n.pods || n.messages < n.unfit || n.best < n.pods*99/100 {
		t.Error("skiff decides differently")
	}
}

func newPair(t *testing.T) *pair {
	t.Helper()
	api := sides.Skiff(t, "--api-only")
	config, err := api.Config()
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{dice: newDice(*seed)}
	if p.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	for i, name := range namespaces {
		p.namespace(t, name, []string{"yes", "no"}[i%2])
	}
	p.ours, p.theirs = newEngine(t, p.client), newUpstream(t, api)
	return p
}

// namespace makes one with a service and with ReplicaSets, which stay as they are.
func (p *pair) namespace(t *testing.T, name, warm string) {
	t.Helper()
	ctx, create, none := t.Context(), metav1.CreateOptions{}, int32(0)
	_, err := p.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"warm": warm}}}, create)
	ok(t, err)
	_, err = p.client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, create)
	ok(t, err)
	_, err = p.client.CoreV1().Services(name).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "c"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}, create)
	ok(t, err)
	for _, app := range apps[:2] {
		labels := map[string]string{"app": app}
		_, err = p.client.AppsV1().ReplicaSets(name).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: appsv1.ReplicaSetSpec{
			Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		}}, create)
		ok(t, err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cluster makes nodes with pods on them, asks about pods, and removes everything.
func (p *pair) cluster(t *testing.T, number int) {
	t.Helper()
	var names []string
	for i := range 6 + p.dice.IntN(9) {
		names = append(names, p.node(t, p.dice.node(fmt.Sprintf("n%d-%d", number, i))))
	}
	slices.Sort(names)
	p.await(t, "both to see the same nodes", func() bool { return slices.Equal(p.barrier(t), names) })
	for i := range 2 * len(names) {
		pod := p.dice.pod(fmt.Sprintf("e%d-%d", number, i))
		pod.Spec.NodeName = pick(p.dice, names)
		p.ours.place(t, p.create(t, pod))
	}
	for i := range *asked {
		p.compare(t, p.create(t, p.dice.pod(fmt.Sprintf("p%d-%d", number, i))))
	}
	p.clear(t, names)
}

func (p *pair) node(t *testing.T, node *corev1.Node) string {
	t.Helper()
	taints := node.Spec.Taints
	made, err := p.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	ok(t, err)
	made.Spec.Taints = taints // without that of a node that is new
	made, err = p.client.CoreV1().Nodes().Update(t.Context(), made, metav1.UpdateOptions{})
	ok(t, err)
	p.ours.cache.SetNode(made)
	return made.Name
}

func (p *pair) create(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made, err := p.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("%v\n%+v", err, pod.Spec)
	}
	return made
}

func (p *pair) delete(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	ok(t, p.client.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
	p.ours.cache.RemovePod(pod.UID)
}

// clear removes all nodes and pods.
func (p *pair) clear(t *testing.T, names []string) {
	t.Helper()
	pods, err := p.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	ok(t, err)
	for i := range pods.Items {
		p.delete(t, &pods.Items[i])
	}
	for _, name := range names {
		ok(t, p.client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}))
		p.ours.cache.RemoveNode(name)
	}
}

// barrier answers the nodes that kube-scheduler knows, by a pod that fits all of them while they are empty. What happens
// to pods comes to it in order, so that it knows all of them that were made before the one it is asked about.
func (p *pair) barrier(t *testing.T) []string {
	t.Helper()
	p.barriers++
	automount := false
	pod := p.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("barrier-%d", p.barriers), Namespace: namespaces[0]}, Spec: corev1.PodSpec{
		AutomountServiceAccountToken: &automount, Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
	}})
	p.decided(t, pod)
	p.delete(t, pod)
	return slices.Sorted(slices.Values(p.theirs.extender.nodes(pod.Name)))
}

// decided waits until kube-scheduler has bound the pod or says why not.
func (p *pair) decided(t *testing.T, pod *corev1.Pod) (now *corev1.Pod, why string) {
	t.Helper()
	p.await(t, "a decision on "+pod.Name, func() bool {
		var err error
		now, err = p.client.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		ok(t, err)
		for _, c := range now.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				why = c.Message
			}
		}
		return now.Spec.NodeName != "" || why != ""
	})
	return now, why
}

func (p *pair) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			log := p.theirs.program.Log(t)
			t.Fatalf("waiting for %s: %v\n%s", what, ctx.Err(), log[max(0, len(log)-2000):])
		case <-tick.C:
		}
	}
}

// compare asks both about a pod.
func (p *pair) compare(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	ours := p.ours.ask(t, pod)
	now, why := p.decided(t, pod)
	theirs := verdict{feasible: slices.Sorted(slices.Values(p.theirs.extender.nodes(pod.Name))), scores: p.theirs.scores(t, pod.Name), why: why}
	p.tally.pods++
	p.count(t, pod, ours, theirs)
	if now.Spec.NodeName == "" {
		p.delete(t, pod)
		return
	}
	p.ours.place(t, now)
}

func (p *pair) count(t *testing.T, pod *corev1.Pod, ours, theirs verdict) {
	t.Helper()
	if slices.Equal(ours.feasible, theirs.feasible) {
		p.tally.feasible++
	} else {
		t.Errorf("%s: skiff's nodes %v, theirs %v\n%s\n%s", pod.Name, ours.feasible, theirs.feasible, ours.why, theirs.why)
		return
	}
	if len(theirs.feasible) == 0 {
		p.tally.unfit++
		p.tally.best++
		p.tally.scores++
		if ours.why == theirs.why {
			p.tally.messages++
		} else {
			t.Logf("%s:\n  skiff:  %s\n  theirs: %s", pod.Name, ours.why, theirs.why)
		}
		return
	}
	highest := theirs.best()
	if !slices.ContainsFunc(ours.best(), func(n string) bool { return !slices.Contains(highest, n) }) {
		p.tally.best++
	} else {
		t.Logf("%s: skiff's best %v, theirs %v", pod.Name, ours.best(), highest)
	}
	if sameButForConstant(ours.scores, theirs.scores) {
		p.tally.scores++
		return
	}
	var lines []string
	for _, n := range theirs.feasible {
		lines = append(lines, fmt.Sprintf("%s: skiff %d, theirs %d %v", n, ours.scores[n], theirs.scores[n], p.theirs.plugins[pod.Name][n]))
	}
	t.Logf("%s: scores differ\n  %s", pod.Name, strings.Join(lines, "\n  "))
}

// sameButForConstant compares what scores choose by: skiff leaves out plugins that would give all nodes the same.
func sameButForConstant(a, b map[string]int64) bool {
	differences := map[int64]bool{}
	for n := range b {
		differences[b[n]-a[n]] = true
	}
	return len(differences) <= 1
}
