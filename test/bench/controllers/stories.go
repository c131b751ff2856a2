package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	size    = 1000 // pods of a Deployment, indexes of a Job, half of a namespace's objects
	storyIs = 15 * time.Minute
	writers = 8
)

// story is something that controllers do; do starts it and returns when they have done it.
type story struct {
	name    string
	prepare func(testing.TB, *world, string) // unmeasured
	do      func(testing.TB, *world, string)
}

// stories happen one after the other in a namespace.
func stories() []story {
	return []story{
		{name: "Deployment 0 -> 1,000 pods", do: func(t testing.TB, w *world, ns string) {
			deploy(t, w, ns, "web")
			w.rolledOut(t, ns, "web", size)
		}},
		{name: "rolling update of 1,000 pods", do: func(t testing.TB, w *world, ns string) {
			w.patch(t, ns, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:2"}]}}}}`)
			w.rolledOut(t, ns, "web", size)
		}},
		{name: "Deployment 1,000 -> 0 pods", do: func(t testing.TB, w *world, ns string) {
			w.patch(t, ns, `{"spec":{"replicas":0}}`)
			w.rolledOut(t, ns, "web", 0)
		}},
		{name: "Job with 1,000 indexes", do: job},
		{name: "namespace with 2,000 objects deleted", prepare: fill, do: empty},
	}
}

func deploy(t testing.TB, w *world, ns, name string) {
	t.Helper()
	replicas, labels := int32(size), map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}}},
	}}
	if _, err := w.client.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) patch(t testing.TB, ns, body string) {
	t.Helper()
	if _, err := w.client.AppsV1().Deployments(ns).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// rolledOut waits until `kubectl rollout status` would say so and no other pod is left.
func (w *world) rolledOut(t testing.TB, ns, name string, want int32) {
	t.Helper()
	w.await(t, "rollout of "+name, storyIs, func(ctx context.Context) (bool, error) {
		d, err := w.client.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		s := d.Status
		if s.ObservedGeneration != d.Generation || s.UpdatedReplicas != want || s.Replicas != want || s.AvailableReplicas != want {
			return false, nil
		}
		// A few are enough to see that more are left than should be.
		list, err := w.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name, ResourceVersion: "0"})
		return err == nil && len(list.Items) == int(want), err
	})
}

func job(t testing.TB, w *world, ns string) {
	t.Helper()
	n, mode := int32(size), batchv1.IndexedCompletion
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sums"}, Spec: batchv1.JobSpec{
		Completions: &n, Parallelism: &n, CompletionMode: &mode,
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "sum:1"}}}},
	}}
	if _, err := w.client.BatchV1().Jobs(ns).Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "job", storyIs, func(ctx context.Context) (bool, error) {
		j, err := w.client.BatchV1().Jobs(ns).Get(ctx, "sums", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
				return j.Status.Succeeded == size, nil
			}
		}
		return false, nil
	})
}

// fill puts 2,000 objects of two kinds into a namespace of its own.
func fill(t testing.TB, w *world, ns string) {
	t.Helper()
	w.namespace(t, ns+"-full")
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(writers)
	for i := range size {
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("o-%d", i)}
		group.Go(func() error {
			if _, err := w.client.CoreV1().ConfigMaps(ns+"-full").Create(ctx, &corev1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := w.client.CoreV1().Secrets(ns+"-full").Create(ctx, &corev1.Secret{ObjectMeta: meta}, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func empty(t testing.TB, w *world, ns string) {
	t.Helper()
	if err := w.client.CoreV1().Namespaces().Delete(t.Context(), ns+"-full", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "end of the namespace", storyIs, func(ctx context.Context) (bool, error) {
		_, err := w.client.CoreV1().Namespaces().Get(ctx, ns+"-full", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// namespace makes one in which pods may run.
func (w *world) namespace(t testing.TB, name string) {
	t.Helper()
	if _, err := w.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "service account", 2*time.Minute, func(ctx context.Context) (bool, error) {
		_, err := w.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
}
