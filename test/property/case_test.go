package property

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/hollow"
	"skiff/test/control"
)

// patience is how long a case may take to come to rest.
const patience = 30 * time.Second

// action is one thing that a user, a pod or a node does.
type action struct {
	What string
	// On names the workload, N and M mean what the action wants.
	On   string
	N, M int
}

// cluster is what cases share.
type cluster struct {
	*control.Plane
	clock *control.Clock
}

// scene is a running case.
type scene struct {
	*cluster
	ctx       context.Context
	namespace string
	history   *history
}

// do plays one action. What it wants to change may be gone.
func (s *scene) do(a action) error {
	var err error
	apps, batch := s.Client.AppsV1(), s.Client.BatchV1()
	switch a.What {
	case "rest":
		return s.rest()
	case "breathe":
		s.history.quiet(s.ctx, 50*time.Millisecond)
	case "delete pod", "evict pod", "end pod":
		err = s.pod(a)
	case "silence node", "wake node":
		err = s.node(hollowNodes()[a.N%nodeCount], a.What == "wake node")
	default:
		kind, body := types.MergePatchType, []byte(patch(a))
		switch a.On {
		case "deployment":
			_, err = apps.Deployments(s.namespace).Patch(s.ctx, a.On, kind, body, metav1.PatchOptions{})
		case "statefulset":
			_, err = apps.StatefulSets(s.namespace).Patch(s.ctx, a.On, kind, body, metav1.PatchOptions{})
		case "daemonset":
			_, err = apps.DaemonSets(s.namespace).Patch(s.ctx, a.On, kind, body, metav1.PatchOptions{})
		default:
			_, err = batch.Jobs(s.namespace).Patch(s.ctx, a.On, kind, body, metav1.PatchOptions{})
		}
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// patch is an action as a change of the workload's spec.
func patch(a action) string {
	switch a.What {
	case "scale":
		return fmt.Sprintf(`{"spec":{"replicas":%d}}`, a.N)
	case "image":
		return fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"v%d"}]}}}}`, a.N)
	case "partition":
		return fmt.Sprintf(`{"spec":{"updateStrategy":{"rollingUpdate":{"partition":%d}}}}`, a.N)
	case "parallelism":
		return fmt.Sprintf(`{"spec":{"parallelism":%d}}`, 1+a.N)
	case "recreate":
		return `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`
	}
	rolling := fmt.Sprintf(`{"type":"RollingUpdate","rollingUpdate":{"maxSurge":%d,"maxUnavailable":%d}}`, a.N%3, a.M%3)
	if a.N%3+a.M%3 == 0 || a.On == "daemonset" && (a.N%3)*(a.M%3) != 0 {
		rolling = `{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}`
	}
	if a.On == "daemonset" {
		return `{"spec":{"updateStrategy":` + rolling + `}}`
	}
	return `{"spec":{"strategy":` + rolling + `}}`
}

// pod does something to the N-th pod of a workload.
func (s *scene) pod(a action) error {
	list, err := s.Client.CoreV1().Pods(s.namespace).List(s.ctx, metav1.ListOptions{LabelSelector: "app=" + a.On})
	if err != nil || len(list.Items) == 0 {
		return err
	}
	p := list.Items[a.N%len(list.Items)]
	switch a.What {
	case "delete pod":
		s.history.disturb(p.UID)
		return s.Client.CoreV1().Pods(s.namespace).Delete(s.ctx, p.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
	case "evict pod":
		return s.annotate(p.Name, hollow.EvictedAnnotation, "true")
	default:
		return s.annotate(p.Name, hollow.ExitAnnotation, fmt.Sprint(a.M%2))
	}
}

func (s *scene) annotate(pod, name, value string) error {
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, name, value)
	_, err := s.Client.CoreV1().Pods(s.namespace).Patch(s.ctx, pod, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// node cuts a node off, as the node lifecycle controller would see it, or brings it back.
func (s *scene) node(name string, awake bool) error {
	nodes := s.Client.CoreV1().Nodes()
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:"%v"}}}`, hollow.SilentAnnotation, !awake)
	if _, err := nodes.Patch(s.ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil || awake {
		return err
	}
	status := `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady"}]}}`
	_, err := nodes.Patch(s.ctx, name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	return err
}

func (s *scene) wakeAll() error {
	for _, name := range hollowNodes() {
		if err := s.node(name, true); err != nil {
			return err
		}
	}
	return nil
}

// rest waits until all that was asked for is so.
func (s *scene) rest() error {
	if err := s.wakeAll(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for i := 1; ; i++ {
		open := s.unfinished()
		if open == nil {
			open = s.history.complete(ctx, s.Client, s.namespace)
		}
		if open == nil || ctx.Err() != nil {
			return open
		}
		if i%20 == 0 {
			s.clock.Jump(11 * time.Second) // backoffs end
		}
		s.history.quiet(ctx, 20*time.Millisecond)
	}
}

// finish lets all pods of jobs succeed and waits until all is at rest.
func (s *scene) finish() error {
	if err := s.wakeAll(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for {
		done := true
		for _, o := range s.history.latest() {
			switch o := o.(type) {
			case *batchv1.Job:
				done = done && o.Status.CompletionTime != nil
			case *corev1.Pod:
				if active(o) && strings.HasPrefix(o.Labels["app"], "job") && o.Annotations[hollow.ExitAnnotation] == "never" {
					if err := s.annotate(o.Name, hollow.ExitAnnotation, "0"); err != nil && !apierrors.IsNotFound(err) {
						return err
					}
				}
			}
		}
		if done {
			return s.rest()
		}
		if ctx.Err() != nil {
			return errors.New("jobs don't complete: " + s.show())
		}
		s.clock.Jump(11 * time.Second)
		s.history.quiet(ctx, 20*time.Millisecond)
	}
}

// unfinished answers what is not yet as it was asked for.
func (s *scene) unfinished() error {
	world := s.history.latest()
	for _, o := range world {
		ok, more := true, ""
		switch o := o.(type) {
		case *appsv1.Deployment:
			ok = deploymentSettled(o)
		case *appsv1.StatefulSet:
			ok, more = statefulSetDone(o, owned(world, o.UID))
		case *appsv1.DaemonSet:
			t := o.Status
			ok = t.ObservedGeneration == o.Generation && t.UpdatedNumberScheduled == nodeCount && t.NumberAvailable == nodeCount && len(owned(world, o.UID)) == nodeCount
		case *batchv1.Job:
			want := min(*o.Spec.Parallelism, *o.Spec.Completions-o.Status.Succeeded)
			u := o.Status.UncountedTerminatedPods
			ok = o.Status.Active == want && count(owned(world, o.UID), active) == want && (u == nil || len(u.Succeeded)+len(u.Failed) == 0)
		case *corev1.Pod:
			ok = o.DeletionTimestamp == nil
		}
		if !ok {
			return fmt.Errorf("%s is not as it should be %s: %s", o.GetName(), more, s.show())
		}
	}
	return nil
}

// statefulSetDone checks that all pods are there, and of the revision that the partition gives them.
func statefulSetDone(set *appsv1.StatefulSet, pods []*corev1.Pod) (bool, string) {
	n, t := *set.Spec.Replicas, set.Status
	if t.ObservedGeneration != set.Generation || t.Replicas != n || t.AvailableReplicas != n || int(n) != len(pods) {
		return false, "(replicas)"
	}
	partition := *set.Spec.UpdateStrategy.RollingUpdate.Partition
	for _, p := range pods {
		if revision := p.Labels[appsv1.StatefulSetRevisionLabel]; ordinal(p) >= partition && revision != t.UpdateRevision {
			return false, fmt.Sprintf("(pod %s is of %s)", p.Name, revision)
		}
	}
	return true, ""
}

// show prints what exists.
func (s *scene) show() string {
	var out []string
	for _, o := range s.history.latest() {
		text, err := json.Marshal(map[string]any{"name": o.GetName(), "all": o})
		if err != nil {
			return err.Error()
		}
		if _, pod := o.(*corev1.Pod); pod && len(text) > 900 {
			text = text[:900]
		}
		out = append(out, string(text))
	}
	slices.Sort(out)
	return "\n" + strings.Join(out, "\n")
}
