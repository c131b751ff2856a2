//go:build bench

package controllers

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"skiff/test/bench/report"
	"skiff/test/bench/sides"
)

var (
	rounds = flag.Int("rounds", 3, "rounds; each starts both sides anew")
	settle = flag.Duration("settle", time.Minute, "from the last write until controllers with nothing to do are looked at")
	only   = flag.String("stories", "", "regular expression of the stories to tell; all if empty")
	out    = flag.String("out", "", "directory for table and plot")
)

const (
	idleWindow  = 30 * time.Second
	deployments = 10 // of size pods, in the steady state
)

// TestControllers lets both sides do the same stories in turn. kube-controller-manager does them as kubeadm sets it up,
// where its clients send 20 requests a second, and once more without that limit.
func TestControllers(t *testing.T) {
	r := &report.Report{Ours: "skiff", Theirs: "kube-controller-manager"}
	for i := range *rounds {
		t.Run(strconv.Itoa(i), func(t *testing.T) { round(t, r, i) })
	}
	fmt.Print(r.Markdown())
	if *out != "" {
		if err := r.Write(*out, "controllers", "skiff's controllers compared with kube-controller-manager (less is better)"); err != nil {
			t.Error(err)
		}
	}
	for _, m := range r.Missed() {
		t.Error(m)
	}
}

// results are one side's, by figure.
type results map[string]float64

// unlimited lifts the client limits of kube-controller-manager.
var unlimited = []string{"--kube-api-qps=100000", "--kube-api-burst=100000"}

func round(t *testing.T, r *report.Report, number int) {
	var ours, theirs results
	turns := []func(){
		func() {
			t.Run("skiff", func(t *testing.T) {
				ours = side(t, func(t testing.TB, w *sides.Side) *sides.Program { return sides.SkiffManager(t, w) })
			})
		},
		func() {
			t.Run("upstream", func(t *testing.T) {
				theirs = side(t,
					func(t testing.TB, w *sides.Side) *sides.Program { return sides.UpstreamManager(t, w) },
					func(t testing.TB, w *sides.Side) *sides.Program { return sides.UpstreamManager(t, w, unlimited...) })
			})
		},
	}
	if number%2 == 1 {
		slices.Reverse(turns)
	}
	for _, turn := range turns {
		turn()
	}
	for _, f := range figures() {
		r.Add(f, ours[f.Name], theirs[f.Name])
		t.Logf("%-70s %10.3f %10.3f  %.3f", f.Name, ours[f.Name], theirs[f.Name], ours[f.Name]/theirs[f.Name])
	}
}

// kinds are the two ways in which upstream's side is set up.
func kinds() []string { return []string{"", ", no client limit"} }

// figures are all that a round measures.
func figures() []report.Figure {
	var out []report.Figure
	for i, kind := range kinds() {
		// Without the limit there is no target for the time: both wait for the API server, the scheduler and the nodes.
		target := []float64{0.5, 0}[i]
		for _, s := range chosen() {
			out = append(out,
				report.Figure{Name: "time, " + s.name + kind, Unit: "s", Target: target, Noisy: true},
				report.Figure{Name: "API writes, " + s.name + kind, Unit: "1", Target: 1},
				report.Figure{Name: "CPU, " + s.name + kind, Unit: "s"})
		}
	}
	return append(out,
		report.Figure{Name: "CPU with 10,000 pods", Unit: "% of a core"},
		report.Figure{Name: "memory with 10,000 pods", Unit: "MB", Target: 0.5})
}

// chosen are the stories to tell.
func chosen() []story {
	wanted := regexp.MustCompile(*only)
	return slices.DeleteFunc(stories(), func(s story) bool { return !wanted.MatchString(s.name) })
}

type start func(testing.TB, *sides.Side) *sides.Program

// side does everything with one side's controllers: as they come, then without client limits. Without a second start
// they have none, and the first stands for both.
func side(t *testing.T, starts ...start) results {
	w, got := newWorld(t), results{}
	for i, begin := range starts {
		m := begin(t, w.api)
		t.Cleanup(func() { m.Stop(t) })
		ns := fmt.Sprintf("stories-%d", i)
		w.namespace(t, ns)
		w.settled(t)
		for _, s := range chosen() {
			took := measure(t, w, m, s, ns)
			for _, kind := range kinds()[i:] { // a second start overwrites its own
				for name, value := range took {
					got[name+", "+s.name+kind] = value
				}
			}
		}
		if i == len(starts)-1 {
			steady(t, w, m, got)
		}
		m.Stop(t)
	}
	return got
}

func measure(t *testing.T, w *world, m *sides.Program, s story, ns string) results {
	if s.prepare != nil {
		s.prepare(t, w, ns)
	}
	before, cpu, began := w.settled(t), m.CPU(t), time.Now()
	s.do(t, w, ns)
	took := time.Since(began).Seconds()
	written := w.settled(t).since(before)
	used := (m.CPU(t) - cpu).Seconds()
	t.Logf("%s: %.2f s, %d writes, %.2f s CPU (%s)", s.name, took, written.total(), used, written)
	return results{"time": took, "API writes": float64(written.total()), "CPU": used}
}

// steady looks at controllers that have nothing to do for 10,000 pods.
func steady(t *testing.T, w *world, m *sides.Program, got results) {
	w.namespace(t, "steady")
	for i := range deployments {
		deploy(t, w, "steady", fmt.Sprintf("web-%d", i))
	}
	for i := range deployments {
		w.rolledOut(t, "steady", fmt.Sprintf("web-%d", i), size)
	}
	w.settled(t)
	time.Sleep(*settle)
	cpu := m.CPU(t)
	time.Sleep(idleWindow)
	got["CPU with 10,000 pods"] = 100 * (m.CPU(t) - cpu).Seconds() / idleWindow.Seconds()
	got["memory with 10,000 pods"] = m.RSS(t)
}
