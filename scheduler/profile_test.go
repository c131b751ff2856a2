package scheduler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler"
)

const header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

// parse reads a configuration that must be right.
func parse(t *testing.T, text string) scheduler.Config {
	t.Helper()
	cfg, err := scheduler.Parse([]byte(header + text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// of hands a pod to another scheduler.
func of(profile string, pod *corev1.Pod) *corev1.Pod {
	pod.Spec.SchedulerName = profile
	return pod
}

// TestTwoProfiles: each decides for its own pods as it is configured, both see what the other placed, events carry their names.
func TestTwoProfiles(t *testing.T) {
	cfg := parse(t, `
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}, preScore: {disabled: [{name: '*'}]}}
  pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]
`)
	c := startWith(t, cfg, node("n1", "4"), node("n2", "4"))
	c.create(of("packer", pod("first", "1")))
	c.eventually("the first placed", func() bool { return c.pod("first").Spec.NodeName != "" })
	full := c.pod("first").Spec.NodeName
	empty := map[string]string{"n1": "n2", "n2": "n1"}[full]
	c.eventBy("packer", "Scheduled", "Successfully assigned default/first to "+full)

	c.create(of("packer", pod("packed", "1")))
	c.onNode("packed", full)
	c.create(pod("spread", "1"))
	c.onNode("spread", empty)
	c.event("Scheduled", "Successfully assigned default/spread to "+empty)
	c.create(of("packer", pod("third", "2")))
	c.onNode("third", full)

	c.create(of("packer", pod("big", "4")))
	c.eventBy("packer", "FailedScheduling",
		"0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.")
	c.create(of("nobody", pod("other", "1")))
	c.create(pod("last", "1"))
	c.onNode("last", empty)
	if c.pod("other").Spec.NodeName != "" {
		t.Error("a pod of no profile was placed")
	}
}

// TestProfileWithoutFilters: a profile that leaves plugins out places pods that another would not.
func TestProfileWithoutFilters(t *testing.T) {
	cfg := parse(t, `
profiles:
- schedulerName: default-scheduler
- schedulerName: careless
  plugins: {multiPoint: {disabled: [{name: NodeUnschedulable}, {name: TaintToleration}]}}
`)
	closed := node("n1", "4")
	closed.Spec.Unschedulable = true
	c := startWith(t, cfg, closed)
	c.create(pod("careful", "1"))
	c.waitsWith("careful", corev1.PodReasonUnschedulable,
		"0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
	c.create(of("careless", pod("careless", "1")))
	c.onNode("careless", "n1")
}

// TestProfileWithoutPreemption: nobody stands by the node that a pod was promised once, so the promise is taken back.
func TestProfileWithoutPreemption(t *testing.T) {
	c := startWith(t, parse(t, "profiles: [{plugins: {postFilter: {disabled: [{name: '*'}]}}}]"), node("n1", "1"))
	big := pod("big", "2")
	big.Status.NominatedNodeName = "n1"
	c.create(big)
	c.waitsWith("big", corev1.PodReasonUnschedulable, "0/1 nodes are available: 1 Insufficient cpu.")
	if got := c.pod("big").Status.NominatedNodeName; got != "" {
		t.Errorf("still promised %s", got)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ text, want string }{
		"everything": {`
parallelism: 2
percentageOfNodesToScore: 70
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
leaderElection: {leaderElect: true, resourceName: mine}
profiles: [{schedulerName: a, percentageOfNodesToScore: 30}, {schedulerName: b}]
`, ""},
		"no bind plugin":    {"profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]", "profiles[0].plugins: at least one bind plugin has to be enabled"},
		"no order":          {"profiles: [{plugins: {queueSort: {disabled: [{name: '*'}]}}}]", "profiles[0].plugins: one queueSort plugin has to be enabled, not 0"},
		"wrong point":       {"profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]", "profiles[0].plugins.score.enabled[0]"},
		"half of a pair":    {"profiles: [{plugins: {preScore: {disabled: [{name: TaintToleration}]}}}]", "profiles[0].plugins.preScore"},
		"missing authority": {"extenders: [{urlPrefix: 'https://localhost', tlsConfig: {caFile: " + dir + "/none}}]", "extenders[0].tlsConfig: "},
		"invalid":           {"parallelism: -1", "parallelism: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "scheduler.yaml")
			if err := os.WriteFile(file, []byte(header+test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := scheduler.Load(file)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Parallelism != 2 || cfg.PercentageOfNodesToScore != 70 || cfg.InitialBackoff.Seconds() != 2 || cfg.MaxBackoff.Seconds() != 20 ||
				!cfg.LeaderElection || cfg.Lease.Name != "mine" || cfg.Lease.Namespace != "kube-system" || len(cfg.Profiles) != 2 {
				t.Errorf("got %+v", cfg)
			}
		})
	}
	if _, err := scheduler.Load(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is missing was read")
	}
}
