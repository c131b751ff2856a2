package differential

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/test/bench/sides"
)

// extender is asked by kube-scheduler about the nodes that passed its filters. It objects to none.
type extender struct {
	mu       sync.Mutex
	feasible map[string][]string // by pod name
}

// ServeHTTP answers the filter verb of an extender that knows the nodes by name.
func (e *extender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Pod       *corev1.Pod
		NodeNames *[]string
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Pod == nil || asked.NodeNames == nil {
		http.Error(w, fmt.Sprintf("no pod or no nodes: %v", err), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.feasible[asked.Pod.Name] = *asked.NodeNames
	e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := struct{ NodeNames *[]string }{asked.NodeNames}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (e *extender) nodes(pod string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.feasible[pod]
}

// upstream is a kube-scheduler that tells what it thinks.
type upstream struct {
	program  *sides.Program
	extender *extender
	read     int64 // bytes of its log that were read
	totals   map[string]map[string]int64
	plugins  map[string]map[string]map[string]int64 // by pod, node and plugin
}

const configuration = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: %s, qps: 100000, burst: 100000}
leaderElection: {leaderElect: false}
percentageOfNodesToScore: 100
extenders:
- {urlPrefix: %s, filterVerb: filter, nodeCacheCapable: true, httpTimeout: 30s}
`

func newUpstream(t testing.TB, api *sides.Side) *upstream {
	t.Helper()
	u := &upstream{
		extender: &extender{feasible: map[string][]string{}},
		totals:   map[string]map[string]int64{}, plugins: map[string]map[string]map[string]int64{},
	}
	server := httptest.NewServer(u.extender)
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, configuration, api.Kubeconfig, server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	u.program = sides.UpstreamScheduler(t, api, "--config="+path, "--vmodule=schedule_one=10")
	t.Cleanup(func() { u.program.Stop(t) })
	return u
}

var (
	total  = regexp.MustCompile(`Calculated node's final score for pod" pod="[^/]+/([^"]+)" node="([^"]+)" score=(-?\d+)`)
	single = regexp.MustCompile(`Plugin scored node for pod" pod="[^/]+/([^"]+)" plugin="([^"]+)" node="([^"]+)" score=(-?\d+)`)
)

// scores answers what kube-scheduler said of the pod's nodes, nothing if it had no choice.
func (u *upstream) scores(t testing.TB, pod string) map[string]int64 {
	t.Helper()
	log, err := os.Open(u.program.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.Seek(u.read, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // the rest of the line comes later
		}
		if err != nil {
			t.Fatal(err)
		}
		u.read += int64(len(line))
		u.note(line)
	}
	return u.totals[pod]
}

func (u *upstream) note(line string) {
	if m := total.FindStringSubmatch(line); m != nil {
		if u.totals[m[1]] == nil {
			u.totals[m[1]] = map[string]int64{}
		}
		u.totals[m[1]][m[2]] = number(m[3])
	}
	if m := single.FindStringSubmatch(line); m != nil {
		if u.plugins[m[1]] == nil {
			u.plugins[m[1]] = map[string]map[string]int64{}
		}
		if u.plugins[m[1]][m[3]] == nil {
			u.plugins[m[1]][m[3]] = map[string]int64{}
		}
		u.plugins[m[1]][m[3]][m[2]] = number(m[4])
	}
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err) // the expression lets only digits through
	}
	return n
}
