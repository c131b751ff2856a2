package apitest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/scheduler"
	"skiff/test/env"
)

// TestTwoProfilesAgainstTheAPI: pods go to the profile that they name, each is placed as its profile scores, and the
// events say which profile it was.
func TestTwoProfilesAgainstTheAPI(t *testing.T) {
	server := env.Start(t, env.Options{})
	admin := kubernetes.NewForConfigOrDie(server.Admin())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	cfg, err := scheduler.Parse([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
  plugins:
    multiPoint:
      disabled: [{name: NodeResourcesBalancedAllocation}, {name: ImageLocality}, {name: PodTopologySpread}]
`))
	if err != nil {
		t.Fatal(err)
	}
	run(ctx, t, server, cfg)
	ensureNamespace(ctx, t, admin)
	for _, name := range []string{"n1", "n2"} {
		createNode(ctx, t, admin, node(name))
	}
	nodeOf := func(name string) (at string) {
		t.Helper()
		eventually(ctx, t, name+" placed", func() bool {
			p, err := admin.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			at = p.Spec.NodeName
			return at != ""
		})
		return at
	}
	full := ""
	for i := range 4 {
		p := pod(fmt.Sprintf("packed%d", i), "200m")
		p.Spec.SchedulerName = "packer"
		createPod(ctx, t, admin, p)
		at := nodeOf(p.Name)
		if full == "" {
			full = at
		}
		if at != full {
			t.Errorf("%s went to %s, want %s", p.Name, at, full)
		}
		eventually(ctx, t, "the event of "+p.Name, func() bool {
			return hasEventBy(ctx, t, admin, "packer", p.Name, "Scheduled", "Successfully assigned default/"+p.Name+" to "+at)
		})
	}
	createPod(ctx, t, admin, pod("spread", "200m"))
	if at := nodeOf("spread"); at == full {
		t.Errorf("the default profile packed too")
	}
	big := pod("big", "3")
	big.Spec.SchedulerName = "packer"
	createPod(ctx, t, admin, big)
	const want = "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	eventually(ctx, t, "the FailedScheduling event", func() bool {
		return hasEventBy(ctx, t, admin, "packer", "big", "FailedScheduling", want)
	})
}
