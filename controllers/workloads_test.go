package controllers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff/controllers"
)

func newJob(name, image string, completions int32, mode batchv1.CompletionMode) *batchv1.Job {
	pods := template(nil, image)
	pods.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{
		Completions: &completions, Parallelism: ptr[int32](2), CompletionMode: &mode, BackoffLimit: ptr[int32](0), Template: pods,
	}}
}

func (c *cluster) jobEnds(name string, as batchv1.JobConditionType, check func(batchv1.JobStatus) string) {
	c.t.Helper()
	c.eventually("end of job "+name, func(ctx context.Context) string {
		job, err := c.client.BatchV1().Jobs("shop").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, cond := range job.Status.Conditions {
			if cond.Type == as && cond.Status == corev1.ConditionTrue {
				return check(job.Status)
			}
		}
		return fmt.Sprintf("%+v", job.Status)
	})
}

func TestJobStory(t *testing.T) {
	c := newCluster(t)
	c.namespace("shop")
	jobs := c.client.BatchV1().Jobs("shop")
	for _, job := range []*batchv1.Job{
		newJob("plain", "v1", 5, batchv1.NonIndexedCompletion), newJob("numbered", "v1", 4, batchv1.IndexedCompletion),
		newJob("broken", "fail", 1, batchv1.NonIndexedCompletion),
	} {
		if _, err := jobs.Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.jobEnds("plain", batchv1.JobComplete, func(s batchv1.JobStatus) string {
		if s.Succeeded != 5 || s.CompletionTime == nil || s.StartTime == nil {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	c.jobEnds("numbered", batchv1.JobComplete, func(s batchv1.JobStatus) string {
		if s.Succeeded != 4 || s.CompletedIndexes != "0-3" {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	c.jobEnds("broken", batchv1.JobFailed, func(s batchv1.JobStatus) string {
		if s.Failed != 1 || s.Conditions[len(s.Conditions)-1].Reason != "BackoffLimitExceeded" {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	c.eventually("released pods", func(ctx context.Context) string {
		for _, p := range c.pods(ctx, "shop") {
			if len(p.Finalizers) > 0 {
				return p.Name + " is still tracked"
			}
		}
		return ""
	})
}

func TestDaemonSetStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	labels := map[string]string{"app": "agent"}
	sets := c.client.AppsV1().DaemonSets("shop")
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "v1"),
	}}
	if _, err := sets.Create(ctx, set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	updated := func(ctx context.Context) string {
		s, err := sets.Get(ctx, "agent", metav1.GetOptions{})
		if err != nil || s.Status.ObservedGeneration < s.Generation || s.Status.UpdatedNumberScheduled != 1 || s.Status.NumberAvailable != 1 {
			return fmt.Sprintf("%+v, %v", s.Status, err)
		}
		return ""
	}
	c.eventually("one pod a node", updated)
	kind, patch := merge(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"v2"}]}}}}`)
	if _, err := sets.Patch(ctx, "agent", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("rollout", updated)
	revisions, err := c.client.AppsV1().ControllerRevisions("shop").List(ctx, metav1.ListOptions{})
	if err != nil || len(revisions.Items) != 2 {
		t.Errorf("%d revisions, %v", len(revisions.Items), err)
	}
	if pods := c.pods(ctx, "shop"); len(pods) != 1 || pods[0].Spec.Containers[0].Image != "v2" {
		t.Errorf("pods: %+v", pods)
	}
}

func TestStatefulSetStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	labels := map[string]string{"app": "db"}
	sets := c.client.AppsV1().StatefulSets("shop")
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: ptr[int32](3), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "v1"),
	}}
	if _, err := sets.Create(ctx, set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	settled := func(replicas int32) func(context.Context) string {
		return func(ctx context.Context) string {
			s, err := sets.Get(ctx, "db", metav1.GetOptions{})
			if err != nil || s.Status.ObservedGeneration < s.Generation || s.Status.Replicas != replicas || s.Status.ReadyReplicas != replicas ||
				s.Status.UpdatedReplicas != replicas || s.Status.CurrentRevision != s.Status.UpdateRevision {
				return fmt.Sprintf("%+v, %v", s.Status, err)
			}
			return ""
		}
	}
	c.eventually("three pods", settled(3))
	kind, patch := merge(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"v2"}]}}}}`)
	if _, err := sets.Patch(ctx, "db", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("rollout", settled(3))
	for _, p := range c.pods(ctx, "shop") {
		if p.Spec.Containers[0].Image != "v2" || p.Spec.Hostname != p.Name {
			t.Errorf("pod %s: image %s, host name %s", p.Name, p.Spec.Containers[0].Image, p.Spec.Hostname)
		}
	}
	kind, patch = merge(`{"spec":{"replicas":1}}`)
	if _, err := sets.Patch(ctx, "db", kind, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("one pod", settled(1))
}

func TestClaimStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	labels := map[string]string{"app": "db"}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: ptr[int32](2), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "v1"),
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
			ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: mustQuantity("1Gi")}},
			},
		}},
	}}
	if _, err := c.client.AppsV1().StatefulSets("shop").Create(ctx, set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("a claim for each pod", func(ctx context.Context) string {
		for i := range 2 {
			pod, err := c.client.CoreV1().Pods("shop").Get(ctx, fmt.Sprintf("db-%d", i), metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			name := fmt.Sprintf("data-db-%d", i)
			if v := pod.Spec.Volumes[0]; v.Name != "data" || v.PersistentVolumeClaim.ClaimName != name {
				return fmt.Sprintf("volume %+v", v)
			}
			claim, err := c.client.CoreV1().PersistentVolumeClaims("shop").Get(ctx, name, metav1.GetOptions{})
			if err != nil || claim.Labels["app"] != "db" {
				return fmt.Sprintf("%+v, %v", claim.Labels, err)
			}
		}
		return ""
	})
}

func TestDeletionStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	deployments := c.client.AppsV1().Deployments("shop")
	for _, name := range []string{"first", "second"} {
		if _, err := deployments.Create(ctx, newDeployment("shop", name, 1), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.rolledOut("shop", name, "v1", 1)
	}
	if err := deployments.Delete(ctx, "first", metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	c.eventually("foreground deletion", func(ctx context.Context) string {
		_, err := deployments.Get(ctx, "first", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the deployment is there: %v", err)
		}
		for _, p := range c.pods(ctx, "shop") {
			if p.Labels["app"] == "first" {
				c.t.Fatalf("pod %s outlived its deployment", p.Name)
			}
		}
		return ""
	})
	if err := deployments.Delete(ctx, "second", metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationOrphan)}); err != nil {
		t.Fatal(err)
	}
	c.eventually("orphaning", func(ctx context.Context) string {
		sets, err := c.client.AppsV1().ReplicaSets("shop").List(ctx, metav1.ListOptions{})
		if err != nil || len(sets.Items) != 1 || len(sets.Items[0].OwnerReferences) != 0 {
			return fmt.Sprintf("%+v, %v", sets.Items, err)
		}
		if _, err := deployments.Get(ctx, "second", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the deployment is there: %v", err)
		}
		return ""
	})
	if _, err := deployments.Create(ctx, newDeployment("shop", "second", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.rolledOut("shop", "second", "v1", 1) // by adoption: there is still one set
	sets, err := c.client.AppsV1().ReplicaSets("shop").List(ctx, metav1.ListOptions{})
	if err != nil || len(sets.Items) != 1 || len(sets.Items[0].OwnerReferences) != 1 {
		t.Errorf("%+v, %v", sets.Items, err)
	}
}

func TestBudgetStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	c.namespace("shop")
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
	}}
	if _, err := c.client.PolicyV1().PodDisruptionBudgets("shop").Create(ctx, budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.AppsV1().Deployments("shop").Create(ctx, newDeployment("shop", "web", 3), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("one allowed disruption", func(ctx context.Context) string {
		b, err := c.client.PolicyV1().PodDisruptionBudgets("shop").Get(ctx, "web", metav1.GetOptions{})
		if err != nil || b.Status.DisruptionsAllowed != 1 || b.Status.ExpectedPods != 3 || b.Status.DesiredHealthy != 2 {
			return fmt.Sprintf("%+v, %v", b.Status, err)
		}
		return ""
	})
}

func TestSilentNodeStory(t *testing.T) {
	c := newCluster(t, func(cfg *controllers.Config) {
		cfg.NodeMonitorGrace, cfg.NodeStartupGrace = 2*time.Second, 2*time.Second
	})
	ctx := t.Context()
	c.namespace("shop")
	if _, err := c.client.AppsV1().Deployments("shop").Create(ctx, newDeployment("shop", "web", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("unreachable node", func(ctx context.Context) string {
		node, err := c.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, taint := range node.Spec.Taints {
			if taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoSchedule {
				return ""
			}
		}
		return fmt.Sprintf("%+v", node.Spec.Taints)
	})
	c.eventually("pods that are not ready", func(ctx context.Context) string {
		for _, p := range c.pods(ctx, "shop") {
			for _, cond := range p.Status.Conditions {
				if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
					return p.Name + " is ready"
				}
			}
		}
		return ""
	})
}
