package property

import (
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"

	"skiff/test/control"
)

// cases is how many histories are played when -rapid.checks doesn't say.
const cases = "8"

func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": cases, "rapid.shrinktime": "20s", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	klog.SetLogger(logr.Discard()) // dying managers complain
	os.Exit(m.Run())
}

func newCluster(t *testing.T) *cluster {
	clock := control.NewClock(time.Now())
	return &cluster{control.Start(t, control.Options{Nodes: nodeCount, Clock: clock}), clock}
}

// TestWorkloadsSurviveRestarts plays random histories.
func TestWorkloadsSurviveRestarts(t *testing.T) {
	c := newCluster(t)
	var number atomic.Int32
	rapid.Check(t, func(rt *rapid.T) {
		actions := drawHistory().Draw(rt, "actions")
		crashes := rapid.SliceOfN(drawCrash(), 0, 6).Draw(rt, "crashes")
		stop := supervise(t, c.Plane, crashes)
		defer stop()
		broken, err := c.play(t, fmt.Sprintf("case-%d", number.Add(1)), actions)
		if err != nil {
			rt.Error(err)
		}
		for _, b := range broken {
			rt.Error(b)
		}
	})
}

// play makes the workloads in a namespace of their own, plays the actions, and answers which rules were broken and
// whether all came to rest.
func (c *cluster) play(t *testing.T, namespace string, actions []action) (broken []string, err error) {
	ctx := t.Context()
	made, err := c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	h, stop := follow(t, c.Client, namespace, made.ResourceVersion)
	defer stop()
	defer func() { _ = c.Client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}) }()
	s := &scene{cluster: c, ctx: ctx, namespace: namespace, history: h}
	if err := s.create(); err != nil {
		return nil, err
	}
	for _, a := range actions {
		if err := s.do(a); err != nil {
			return replay(h), fmt.Errorf("%+v: %w", a, err)
		}
	}
	if err := s.finish(); err != nil {
		return replay(h), err
	}
	return append(replay(h), h.uncounted()...), nil
}

func (s *scene) create() error {
	o := metav1.CreateOptions{}
	_, err := s.Client.AppsV1().Deployments(s.namespace).Create(s.ctx, newDeployment(), o)
	if err != nil {
		return err
	}
	if _, err := s.Client.AppsV1().StatefulSets(s.namespace).Create(s.ctx, newStatefulSet(), o); err != nil {
		return err
	}
	if _, err := s.Client.AppsV1().DaemonSets(s.namespace).Create(s.ctx, newDaemonSet(), o); err != nil {
		return err
	}
	for name, mode := range map[string]batchv1.CompletionMode{"job-indexed": batchv1.IndexedCompletion, "job-plain": batchv1.NonIndexedCompletion} {
		if _, err := s.Client.BatchV1().Jobs(s.namespace).Create(s.ctx, newJob(name, mode), o); err != nil {
			return err
		}
	}
	return nil
}
