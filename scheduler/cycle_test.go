package scheduler

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/scheduler/framework"
	"skiff/scheduler/queue"
)

// broken fails to judge a node.
type broken struct{ node string }

func (broken) Name() string                                                     { return "Broken" }
func (broken) Less(_, _ framework.Queued) bool                                  { return false }
func (broken) Bind(context.Context, *framework.Cycle, string) *framework.Status { return nil }

func (b broken) Filter(_ context.Context, _ *framework.Cycle, node *framework.NodeInfo) *framework.Status {
	if node.Name() == b.node {
		return framework.AsStatus(errors.New("broken"))
	}
	return nil
}

// TestSearchGoesOnBehindAFailure: a node that can't be judged fails one attempt, not each attempt of each pod.
func TestSearchGoesOnBehindAFailure(t *testing.T) {
	f, err := framework.New([]framework.Enabled{{Plugin: broken{node: "n1"}}}, queue.NewNominator())
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*framework.NodeInfo
	for _, name := range []string{"n1", "n2"} {
		nodes = append(nodes, (&framework.NodeInfo{}).WithNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	pod, err := framework.NewPodInfo(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	s := &Scheduler{nominator: queue.NewNominator()}
	search := func() ([]*framework.NodeInfo, error) {
		a, diagnosis := &attempt{profile: &profile{Framework: f}, cycle: framework.NewCycle(pod, framework.NewSnapshot(nodes...))}, framework.NewDiagnosis()
		return s.filter(t.Context(), a, nodes, &diagnosis)
	}
	if _, err := search(); err == nil {
		t.Fatal("the failure is passed over")
	}
	if found, err := search(); err != nil || len(found) != 1 || found[0].Name() != "n2" {
		t.Errorf("the next search: %v, %v", found, err)
	}
}
