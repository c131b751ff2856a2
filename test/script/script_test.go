package script

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"skiff/controllers"
	"skiff/test/control"
)

// patience is how long eventually may take, rhythm how often it tries.
const (
	patience = 20 * time.Second
	rhythm   = 50 * time.Millisecond
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	goleak.VerifyTestMain(m, // two goroutines of the API server's libraries that never end
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.Forever"),
		goleak.IgnoreTopFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshLocked.func2"))
}

// cluster is where scripts run.
type cluster struct {
	*control.Plane
	clock      *control.Clock
	kubeconfig string
	cache      string
}

// newCluster runs one with three nodes until the test ends.
func newCluster(t *testing.T, change func(*controllers.Config)) *cluster {
	t.Helper()
	clock := control.NewClock(time.Now())
	c := &cluster{Plane: control.Start(t, control.Options{Nodes: 3, Clock: clock}), clock: clock, cache: t.TempDir()}
	c.kubeconfig = c.Kubeconfig()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Manager(ctx, change, quiet) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
	c.awaitUntainted(t)
	return c
}

// awaitUntainted waits until the controllers know that the nodes are ready and pods may be placed there.
func (c *cluster) awaitUntainted(t *testing.T) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(rhythm)
	defer tick.Stop()
	for {
		nodes, err := c.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool { return len(n.Spec.Taints) > 0 }) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the nodes stay tainted: %v", nodes.Items)
		case <-tick.C:
		}
	}
}

// quiet keeps what controllers are warned of out of what kubectl in the same process prints.
func quiet(c *rest.Config) *rest.Config {
	c.WarningHandler = rest.NoWarnings{}
	return c
}

// run tells the stories of the files beside one another.
func (c *cluster) run(t *testing.T, files ...string) { testscript.Run(t, c.params(files...)) }

// alone is a test whose stories run in it, not beside other tests: who waits for a turn must not wait for its own stories.
type alone struct{ *testing.T }

// Parallel does nothing.
func (t alone) Parallel() {}

// Run runs a story.
func (t alone) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(alone{t}) })
}

// Verbose says whether all output is wanted.
func (t alone) Verbose() bool { return testing.Verbose() }

func (c *cluster) params(files ...string) testscript.Params {
	return testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error {
			name := "story-" + strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")
			e.Setenv("NS", name)
			_, err := c.Client.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kubectl": c.kubectl, "eventually": c.eventually, "clock": c.setClock, "load": c.setLoad, "let": c.let, "time": c.setTime,
		},
	}
}

func (c *cluster) call(ts *testscript.TestScript, args []string) (stdout, stderr string, err error) {
	args = slices.Clone(args)
	for i := 1; i < len(args); i++ {
		if args[i-1] == "-f" {
			args[i] = ts.MkAbs(args[i])
		}
	}
	var out, errs bytes.Buffer
	err = runKubectl(c.kubeconfig, ts.Getenv("NS"), c.cache, &out, &errs, args)
	return out.String(), errs.String(), err
}

func (c *cluster) kubectl(ts *testscript.TestScript, neg bool, args []string) {
	out, errs, err := c.call(ts, args)
	_, _ = ts.Stdout().Write([]byte(out))
	_, _ = ts.Stderr().Write([]byte(errs))
	if err != nil != neg {
		ts.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
}

func (c *cluster) let(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "kubectl" {
		ts.Fatalf("usage: let NAME kubectl ARG...")
	}
	out, errs, err := c.call(ts, args[2:])
	if err != nil {
		ts.Fatalf("kubectl %s: %v\n%s", strings.Join(args[2:], " "), err, errs)
	}
	ts.Setenv(args[0], strings.TrimSpace(out))
}

func (c *cluster) eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "kubectl" {
		ts.Fatalf("usage: eventually PATTERN kubectl ARG...")
	}
	want, err := regexp.Compile("(?s)" + args[0])
	ts.Check(err)
	deadline := time.After(patience)
	tick := time.NewTicker(rhythm)
	defer tick.Stop()
	for {
		out, errs, err := c.call(ts, args[2:])
		if err == nil && want.MatchString(out) {
			_, _ = ts.Stdout().Write([]byte(out))
			return
		}
		select {
		case <-deadline:
			all, _, _ := c.call(ts, []string{"get", "all,events", "-o", "wide"})
			ts.Fatalf("never %s of kubectl %s: %v\n%s%s\n%s", args[0], strings.Join(args[2:], " "), err, out, errs, all)
		case <-tick.C:
		}
	}
}

func (c *cluster) setLoad(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: load MILLICORES")
	}
	milli, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	c.Load.Set(ts.Getenv("NS"), milli)
}

// TestStories are those that need no time.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/shared/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	newCluster(t, patient).run(t, files...)
}

// TestClockStories are those that move time.
func TestClockStories(t *testing.T) {
	files, err := filepath.Glob("testdata/clock/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	slots := make(chan struct{}, 2)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			t.Cleanup(sync.OnceFunc(func() { <-slots }))
			change := patient
			if strings.HasPrefix(name, "node") {
				change = nil
			}
			testscript.RunT(alone{t}, newCluster(t, change).params(file))
		})
	}
}

// patient keeps nodes from being taken for silent when time jumps, and autoscalers from waiting long for a round that time
// jumped over while they had the last one.
func patient(cfg *controllers.Config) {
	cfg.NodeMonitorGrace, cfg.NodeStartupGrace = 1e6*time.Hour, 1e6*time.Hour
	cfg.Autoscaling.Period = 3 * time.Second
}
