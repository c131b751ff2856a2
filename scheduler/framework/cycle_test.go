package framework_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff/scheduler/framework"
)

// noted is what a plugin keeps.
type noted string

func (n noted) Clone() framework.StateData { return n }

// What the search for a node needed is not held by pods that wait to be bound.
func TestDecidedKeepsWhatBindingNeeds(t *testing.T) {
	binder, searcher := framework.Enabled{Plugin: plain{name: "binder"}}, framework.Enabled{Plugin: plain{name: "searcher"}}
	f, err := framework.NewProfile(framework.Profile{Name: "p", Plugins: map[framework.Point][]framework.Enabled{
		framework.PointQueueSort: {searcher}, framework.PointFilter: {searcher, binder}, framework.PointBind: {binder},
	}}, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := framework.NewPodInfo(&corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	c := framework.NewCycle(pod, framework.NewSnapshot())
	for _, key := range []string{"searcher", "binder", "searcher/scores"} {
		c.Write(key, noted(key))
	}
	f.Decided(c)
	if got := c.Read("binder"); got != noted("binder") {
		t.Errorf("the binder finds %v", got)
	}
	for _, key := range []string{"searcher", "searcher/scores"} {
		if got := c.Read(key); got != nil {
			t.Errorf("%s is kept: %v", key, got)
		}
	}
}
