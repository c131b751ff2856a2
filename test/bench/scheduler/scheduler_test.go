//go:build bench

package scheduler

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"skiff/test/bench/report"
	"skiff/test/bench/sides"
)

var (
	rounds   = flag.Int("rounds", 1, "rounds")
	nodes    = flag.Int("nodes", 5000, "nodes of the cluster")
	pods     = flag.Int("pods", 10000, "pods of the basic workload; the others have a share of them")
	few      = flag.Int("limited", 500, "pods of every workload where upstream's clients are limited to 50 requests a second")
	only     = flag.String("workloads", "", "regular expression of the workloads; all if empty")
	out      = flag.String("out", "", "directory for table and plot")
	profiles = flag.String("profile", "", "directory for profiles of skiff's scheduler, one directory a workload")
)

// trickled is how long pods come one by one.
const trickled = 3 * time.Second

// kind is a way in which upstream is set up, and what both are given then.
type kind struct {
	name  string
	flags []string
	pods  func(workload) int
	every time.Duration // between pods that come one by one
}

// kinds are kube-scheduler as kubeadm sets it up, where its clients send 50 requests a second, and without that limit,
// where both can be no faster than the API server, so that no throughput is wanted.
func kinds() []kind {
	return []kind{
		{name: ", no client limit", flags: []string{"--kube-api-qps=100000", "--kube-api-burst=100000"}, every: 20 * time.Millisecond,
			pods: func(load workload) int { return int(float64(*pods) * load.share) }},
		{name: "", every: 50 * time.Millisecond, pods: func(workload) int { return *few }},
	}
}

// TestScheduler gives both sides the same workloads in turn, each with an API server of its own that both use.
func TestScheduler(t *testing.T) {
	r := &report.Report{Ours: "skiff", Theirs: "kube-scheduler"}
	for number := range *rounds {
		for _, load := range chosen() {
			t.Run(fmt.Sprintf("%d/%s", number, load.name), func(t *testing.T) { round(t, r, load, number) })
		}
	}
	fmt.Print(r.Markdown())
	if *out != "" {
		if err := r.Write(*out, "scheduler", "skiff's scheduler compared with kube-scheduler (a short bar is good)"); err != nil {
			t.Error(err)
		}
	}
	for _, m := range r.Missed() {
		t.Error(m)
	}
}

// chosen are the workloads to do.
func chosen() []workload {
	wanted := regexp.MustCompile(*only)
	return slices.DeleteFunc(workloads(), func(w workload) bool { return !wanted.MatchString(w.name) })
}

func round(t *testing.T, r *report.Report, load workload, number int) {
	w := newWorld(t, *nodes)
	for _, k := range kinds() {
		var ours, theirs result
		turns := []func(){
			func() {
				ours = w.measure(t, load, k, fmt.Sprintf("skiff-%d", len(k.flags)), func() *sides.Program { return sides.SkiffScheduler(t, w.api) })
			},
			func() {
				theirs = w.measure(t, load, k, fmt.Sprintf("upstream-%d", len(k.flags)), func() *sides.Program { return sides.UpstreamScheduler(t, w.api, k.flags...) })
			},
		}
		if number%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			turn()
		}
		add(r, load, k, ours, theirs)
	}
}

// add reports the figures of a workload.
func add(r *report.Report, load workload, k kind, ours, theirs result) {
	name, target := ", "+load.name+k.name, load.target
	if len(k.flags) > 0 {
		target = 0
	}
	r.Add(report.Figure{Name: "throughput" + name, Unit: "pods/s", More: true, Target: target, Noisy: true}, ours.throughput, theirs.throughput)
	r.Add(report.Figure{Name: "p99 from created to bound" + name, Unit: "ms", Target: 1, Noisy: true}, ours.latency, theirs.latency)
	r.Add(report.Figure{Name: "memory" + name, Unit: "MB", Target: 0.5}, ours.memory, theirs.memory)
	r.Add(report.Figure{Name: "CPU a pod" + name, Unit: "ms", Target: 0.2}, ours.cpu, theirs.cpu)
}

// result is what one side took for a workload.
type result struct{ throughput, latency, memory, cpu float64 }

// measure lets a scheduler place pods that all wait when it begins, then some that come one by one.
func (w *world) measure(t *testing.T, load workload, k kind, ns string, begin func() *sides.Program) result {
	n := k.pods(load)
	w.namespace(t, ns)
	w.seed(t, ns, load, *nodes)
	o, stop := w.observe(t, ns)
	defer stop()
	seeded := o.count()
	release := w.hold(t)
	p := begin()
	defer p.Stop(t)
	names := w.create(t, ns, load, n)
	quiet(t, p)
	if load.churn {
		churned := ns + "-churn"
		w.namespace(t, churned)
		defer w.churn(t, churned)()
	}
	cpu, began := p.CPU(t), time.Now()
	release()
	o.await(t, p, seeded+n)
	if !load.churn {
		quiet(t, p)
	}
	first, last := o.span(names)
	got := result{
		throughput: float64(n-1) / last.Sub(first).Seconds(), cpu: float64((p.CPU(t) - cpu).Microseconds()) / 1000 / float64(n), memory: p.RSS(t),
	}
	late := w.trickle(t, ns, load, n, int(trickled/k.every), k.every)
	o.await(t, p, seeded+n+len(late))
	got.latency = float64(o.latency(late).Microseconds()) / 1000
	t.Logf("%s: %d pods %.2f s after %.2f s, %+v", ns, n, last.Sub(first).Seconds(), first.Sub(began).Seconds(), got)
	p.Stop(t)
	w.unlock(t)
	w.clear(t, ns)
	return got
}

// TestProfile gives the chosen workloads to skiff's scheduler alone, in a process that is profiled.
func TestProfile(t *testing.T) {
	if *profiles == "" {
		t.Skip("needs -profile DIR")
	}
	for i, load := range chosen() {
		w := newWorld(t, *nodes)
		dir := filepath.Join(*profiles, strconv.Itoa(i)+"-"+regexp.MustCompile(`\W+`).ReplaceAllString(load.name, "-"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		w.measure(t, load, kinds()[0], "profiled", func() *sides.Program { return sides.SkiffScheduler(t, w.api, dir) })
	}
}
