//go:build bench

package api

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/bench/report"
	"skiff/test/bench/sides"
)

var (
	settle  = flag.Duration("settle", time.Minute, "from ready, or from the last load, until an idle server is looked at")
	rounds  = flag.Int("rounds", 5, "rounds; each starts both sides anew")
	out     = flag.String("out", "", "directory for table and plot")
	profile = flag.String("profile", "", "directory for profiles of skiff; TestProfile writes them")
)

const (
	idleWindow = 20 * time.Second
	fewClients = 4
	clients    = 32
	perLoad    = 1500
	listed     = 500
	lists      = 40
	watching   = 20
	total      = 10000 // pods when memory is looked at again
)

// TestAPI starts both sides side by side and gives them the same loads in turn,
// so that whatever else the machine does hits both.
func TestAPI(t *testing.T) {
	r := &report.Report{Ours: "skiff", Theirs: "kube-apiserver + etcd"}
	for i := range *rounds {
		t.Run(strconv.Itoa(i), func(t *testing.T) { round(t, r, i) })
	}
	fmt.Print(r.Markdown())
	if *out != "" {
		if err := r.Write(*out, "api", "skiff's API compared with kube-apiserver and etcd (less is better)"); err != nil {
			t.Error(err)
		}
	}
	for _, m := range r.Missed() {
		t.Error(m)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// contest is one round: both sides, in the order in which they take turns.
type contest struct {
	t      *testing.T
	report *report.Report
	sides  []*sides.Side // ours is first, or last in odd rounds
	whole  *sides.Side   // skiff with controllers and scheduler, until idle servers have been looked at
}

func round(t *testing.T, r *report.Report, number int) {
	c := &contest{t: t, report: r}
	start := []func(){
		func() { c.sides = append(c.sides, sides.Skiff(t, "--api-only")) },
		func() { c.sides = append(c.sides, sides.Upstream(t)) },
	}
	if number%2 == 1 {
		slices.Reverse(start)
	}
	for _, f := range start {
		f()
	}
	c.measure(report.Figure{Name: "start to ready", Unit: "s", Target: 0.25, Noisy: true}, func(s *sides.Side) float64 { return s.Ready.Seconds() })
	c.whole = sides.Skiff(t, "--no-node")
	time.Sleep(*settle)
	c.idle()
	for _, namespace := range []string{"load", "json", "list", "watch", "many"} {
		c.each(func(s *sides.Side) { c.prepare(s, namespace) })
	}
	for _, encoding := range []string{protobuf, json} {
		c.loads(encoding)
	}
	c.lists()
	c.watch()
	c.fill()
}

// each does something to one side after the other.
func (c *contest) each(do func(*sides.Side)) {
	for _, s := range c.sides {
		do(s)
	}
}

// measure adds a round of a figure that value tells of a side.
func (c *contest) measure(f report.Figure, value func(*sides.Side) float64) map[string]float64 {
	got := map[string]float64{}
	c.each(func(s *sides.Side) { got[s.Name] = value(s) })
	c.add(f, got)
	return got
}

func (c *contest) add(f report.Figure, got map[string]float64) {
	c.report.Add(f, got["skiff"], got["upstream"])
	c.t.Logf("%-40s %10.4f %10.4f  %.3f", f.Name, got["skiff"], got["upstream"], got["skiff"]/got["upstream"])
}

func (c *contest) idle() {
	before := map[string]time.Duration{}
	c.each(func(s *sides.Side) { before[s.Name] = s.CPU(c.t) })
	time.Sleep(idleWindow)
	c.measure(report.Figure{Name: "CPU when idle", Unit: "% of a core"}, func(s *sides.Side) float64 {
		return 100 * (s.CPU(c.t) - before[s.Name]).Seconds() / idleWindow.Seconds()
	})
	idle := c.measure(report.Figure{Name: "memory when idle", Unit: "MB", Target: 0.4}, func(s *sides.Side) float64 { return s.RSS(c.t) })
	idle["skiff"] = c.whole.RSS(c.t)
	c.whole.Stop(c.t)
	c.add(report.Figure{Name: "memory when idle, skiff with controllers", Unit: "MB"}, idle)
}

// prepare makes what the controllers would make, which do not run on either side.
func (c *contest) prepare(s *sides.Side, namespace string) {
	c.t.Helper()
	k := c.client(s, protobuf)
	if _, err := k.CoreV1().Namespaces().Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := k.CoreV1().ServiceAccounts(namespace).Create(c.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *contest) client(s *sides.Side, encoding string) *kubernetes.Clientset {
	c.t.Helper()
	k, err := client(s, encoding)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

func (c *contest) clients(s *sides.Side, encoding string, n int) []*kubernetes.Clientset {
	c.t.Helper()
	out := make([]*kubernetes.Clientset, n)
	for i := range out {
		out[i] = c.client(s, encoding)
	}
	return out
}

// cost is the processor time in ms that one of n calls takes a side.
func (c *contest) cost(s *sides.Side, n int, do func(context.Context) error) float64 {
	c.t.Helper()
	before := s.CPU(c.t)
	if err := do(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return (s.CPU(c.t) - before).Seconds() * 1000 / float64(n)
}

// calls measures perLoad calls of a few clients.
func (c *contest) calls(name, encoding, namespace string, target float64, prepare func(*sides.Side) call) map[string]float64 {
	f := report.Figure{Name: "CPU per " + name + ", " + short(encoding), Unit: "ms", Target: target}
	return c.measure(f, func(s *sides.Side) float64 {
		few, do := c.clients(s, encoding, fewClients), prepare(s)
		return c.cost(s, perLoad, func(ctx context.Context) error {
			_, err := run(ctx, few, namespace, 0, perLoad, do)
			return err
		})
	})
}

func short(encoding string) string {
	if encoding == json {
		return "JSON"
	}
	return "protobuf"
}

func same(do call) func(*sides.Side) call { return func(*sides.Side) call { return do } }

// loads measures single calls: writes, then reads, then the deletion of all.
func (c *contest) loads(encoding string) {
	const write, read = 0.5, 0.7
	namespace := "load"
	if encoding == json {
		namespace = "json"
	}
	c.calls("create", encoding, namespace, write, same(create))
	c.calls("update", encoding, namespace, write, func(s *sides.Side) call { return update(c.read(s, namespace, perLoad)) })
	c.calls("patch", encoding, namespace, write, same(patch))
	c.calls("get", encoding, namespace, read, same(get))
	c.calls("delete", encoding, namespace, write, same(remove))
}

// read answers the pods of a namespace in the order of their numbers.
func (c *contest) read(s *sides.Side, namespace string, n int) []corev1.Pod {
	c.t.Helper()
	pods, err := c.client(s, protobuf).CoreV1().Pods(namespace).List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	out := make([]corev1.Pod, n)
	for _, p := range pods.Items {
		number, err := strconv.Atoi(p.Name[len(podName(0))-1:])
		if err != nil {
			c.t.Fatal(err)
		}
		out[number] = p
	}
	return out
}

// put creates n pods, unmeasured.
func (c *contest) put(s *sides.Side, namespace string, n int) {
	c.t.Helper()
	if _, err := run(c.t.Context(), c.clients(s, protobuf, fewClients), namespace, 0, n, create); err != nil {
		c.t.Fatal(err)
	}
}

func (c *contest) lists() {
	c.each(func(s *sides.Side) { c.put(s, "list", listed) })
	for _, encoding := range []string{protobuf, json} {
		f := report.Figure{Name: fmt.Sprintf("CPU per list of %d, %s", listed, short(encoding)), Unit: "ms", Target: 0.7}
		c.measure(f, func(s *sides.Side) float64 {
			few := c.clients(s, encoding, 2)
			return c.cost(s, lists, func(ctx context.Context) error {
				_, err := run(ctx, few, "list", 0, lists, list(listed))
				return err
			})
		})
	}
}

// watch measures updates without and with watchers; the difference is theirs.
func (c *contest) watch() {
	c.each(func(s *sides.Side) { c.put(s, "watch", perLoad) })
	updates := func(s *sides.Side) float64 {
		few, do := c.clients(s, protobuf, fewClients), update(c.read(s, "watch", perLoad))
		return c.cost(s, perLoad, func(ctx context.Context) error {
			_, err := run(ctx, few, "watch", 0, perLoad, do)
			return err
		})
	}
	for _, encoding := range []string{protobuf, json} {
		got := map[string]float64{}
		c.each(func(s *sides.Side) {
			alone := updates(s)
			w, err := startWatchers(c.t.Context(), s, encoding, "watch", watching)
			defer w.end()
			if err != nil {
				c.t.Fatal(err)
			}
			before := s.CPU(c.t)
			updates(s)
			if err := w.await(c.t.Context(), watching*perLoad); err != nil {
				c.t.Fatal(err)
			}
			with := (s.CPU(c.t) - before).Seconds() * 1000 / perLoad
			got[s.Name] = 1000 * (with - alone) / watching
		})
		c.add(report.Figure{Name: fmt.Sprintf("CPU per watch event, %d watchers, %s", watching, short(encoding)), Unit: "us", Target: 0.7}, got)
	}
}

// fill creates pods from many clients until there are total.
func (c *contest) fill() {
	n := total - listed - perLoad
	p50, p99 := map[string]float64{}, map[string]float64{}
	c.measure(report.Figure{Name: fmt.Sprintf("creates by %d clients", clients), Unit: "1/s", More: true, Noisy: true}, func(s *sides.Side) float64 {
		began := time.Now()
		took, err := run(c.t.Context(), c.clients(s, protobuf, clients), "many", 0, n, create)
		if err != nil {
			c.t.Fatal(err)
		}
		seconds := time.Since(began).Seconds()
		p50[s.Name], p99[s.Name] = took[n/2].Seconds()*1000, took[n*99/100].Seconds()*1000
		return float64(n) / seconds
	})
	c.add(report.Figure{Name: fmt.Sprintf("create by %d clients, p50", clients), Unit: "ms", Noisy: true}, p50)
	c.add(report.Figure{Name: fmt.Sprintf("create by %d clients, p99", clients), Unit: "ms", Noisy: true}, p99)
	time.Sleep(*settle)
	c.measure(report.Figure{Name: fmt.Sprintf("memory with %d pods", total), Unit: "MB"}, func(s *sides.Side) float64 { return s.RSS(c.t) })
}
