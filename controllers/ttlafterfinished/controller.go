// Package ttlafterfinished deletes finished Jobs when their ttlSecondsAfterFinished has passed.
package ttlafterfinished

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/batch/v1"

	"skiff/controllers/internal/controller"
)

type reconciler struct {
	env  controller.Env
	jobs listers.JobLister
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	jobs := env.Informers.Batch().V1().Jobs()
	r := &reconciler{env: env, jobs: jobs.Lister()}
	return controller.Spec{
		Name: "ttlafterfinished", Reconcile: r.reconcile,
		Watches: []controller.Watch{{Informer: jobs.Informer(), Keys: mortal}},
	}, nil
}

func mortal(_, after metav1.Object) []controller.Key {
	if job, ok := after.(*batchv1.Job); ok {
		if _, ends := Ends(job); ends {
			return []controller.Key{controller.KeyOf(job)}
		}
	}
	return nil
}

// Ends answers when the job's time is up; false for a job that is not finished, lives for ever or is going already.
func Ends(job *batchv1.Job) (time.Time, bool) {
	if job.Spec.TTLSecondsAfterFinished == nil || job.DeletionTimestamp != nil {
		return time.Time{}, false
	}
	for _, c := range job.Status.Conditions {
		finished := c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed
		if finished && c.Status == corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	cached, err := r.jobs.Jobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading job: %w", err)
	}
	if left, mortal := r.left(cached); !mortal || left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	jobs := r.env.Client.BatchV1().Jobs(key.Namespace)
	fresh, err := jobs.Get(ctx, key.Name, metav1.GetOptions{}) // the time may have been prolonged just now
	if apierrors.IsNotFound(err) {
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading job: %w", err)
	}
	if left, mortal := r.left(fresh); !mortal || left > 0 {
		return controller.Result{RequeueAfter: left}, nil
	}
	policy := metav1.DeletePropagationForeground
	err = jobs.Delete(ctx, key.Name, metav1.DeleteOptions{
		PropagationPolicy: &policy,
		Preconditions:     &metav1.Preconditions{UID: &fresh.UID, ResourceVersion: &fresh.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return controller.Result{}, fmt.Errorf("deleting job: %w", err)
	}
	return controller.Result{}, nil
}

func (r *reconciler) left(job *batchv1.Job) (time.Duration, bool) {
	at, ends := Ends(job)
	if !ends {
		return 0, false
	}
	return max(0, at.Sub(r.env.Clock.Now())), true
}
