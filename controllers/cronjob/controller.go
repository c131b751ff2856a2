// Package cronjob starts Jobs by the clock.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	listers "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

func kind() schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind("CronJob") }

type reconciler struct {
	env   controller.Env
	crons listers.CronJobLister
	store written.Store
	jobs  cache.Indexer
	log   written.Log
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	crons, jobs := env.Informers.Batch().V1().CronJobs(), env.Informers.Batch().V1().Jobs().Informer()
	if err := owner.AddIndex(jobs); err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{env: env, crons: crons.Lister(), store: crons.Informer().GetIndexer(), jobs: jobs.GetIndexer()}
	return controller.Spec{
		Name: "cronjob", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: crons.Informer(), Keys: controller.Self},
			{Informer: jobs, Keys: controller.Owner("CronJob", nil)},
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	c, err := r.crons.CronJobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading cron job: %w", err)
	}
	items, err := r.jobs.ByIndex(owner.Index, string(c.UID))
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading jobs: %w", err)
	}
	s := Snapshot{CronJob: c, Now: r.env.Clock.Now()}
	for _, item := range items {
		if j, ok := item.(*batchv1.Job); ok {
			s.Jobs = append(s.Jobs, j)
		}
	}
	plan := NewPlan(s)
	return controller.Result{RequeueAfter: plan.After}, r.apply(ctx, c, plan)
}

func (r *reconciler) apply(ctx context.Context, c *batchv1.CronJob, plan Plan) error {
	for _, n := range plan.Notes {
		r.env.Events.Event(c, n.Type, n.Reason, n.Message)
	}
	var errs []error
	for _, j := range plan.Delete {
		errs = append(errs, r.delete(ctx, c, j))
	}
	status := plan.Status
	if plan.Start != nil && errors.Join(errs...) == nil {
		job, err := r.start(ctx, c, *plan.Start)
		errs = append(errs, err)
		if job != nil {
			status.Active = append(status.Active, corev1.ObjectReference{
				Kind: "Job", APIVersion: batchv1.SchemeGroupVersion.String(), Name: job.Name, Namespace: job.Namespace, UID: job.UID, ResourceVersion: job.ResourceVersion,
			})
			status.LastScheduleTime = &metav1.Time{Time: *plan.Start}
		}
	}
	return errors.Join(append(errs, r.writeStatus(ctx, c, status))...)
}

// start makes the job of a scheduled time. One that is there already, made before the status could be written, counts.
func (r *reconciler) start(ctx context.Context, c *batchv1.CronJob, due time.Time) (*batchv1.Job, error) {
	jobs := r.env.Client.BatchV1().Jobs(c.Namespace)
	job, err := jobs.Create(ctx, newJob(c, due), metav1.CreateOptions{})
	switch {
	case podset.NamespaceTerminating(err):
		return nil, nil
	case apierrors.IsAlreadyExists(err):
		if job, err = jobs.Get(ctx, JobName(c, due), metav1.GetOptions{}); err != nil {
			return nil, fmt.Errorf("reading job: %w", err)
		}
		if !owner.IsControlledBy(job, c.UID) {
			return nil, fmt.Errorf("job %s exists and belongs to another", job.Name)
		}
		return job, nil
	case err != nil:
		r.env.Events.Eventf(c, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return nil, fmt.Errorf("creating job: %w", err)
	}
	r.log.Wrote(controller.KeyOf(c), r.jobs, job)
	r.env.Events.Eventf(c, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", job.Name)
	return job, nil
}

func newJob(c *batchv1.CronJob, due time.Time) *batchv1.Job {
	annotations := maps.Clone(c.Spec.JobTemplate.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	zone := time.UTC
	if c.Spec.TimeZone != nil {
		if l, err := time.LoadLocation(*c.Spec.TimeZone); err == nil {
			zone = l
		}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.In(zone).Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: JobName(c, due), Namespace: c.Namespace, Labels: maps.Clone(c.Spec.JobTemplate.Labels), Annotations: annotations,
			CreationTimestamp: metav1.Time{Time: due}, OwnerReferences: []metav1.OwnerReference{owner.NewRef(c, kind())},
		},
		Spec: *c.Spec.JobTemplate.Spec.DeepCopy(),
	}
}

func (r *reconciler) delete(ctx context.Context, c *batchv1.CronJob, job *batchv1.Job) error {
	policy := metav1.DeletePropagationBackground
	err := r.env.Client.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: metav1.NewUIDPreconditions(string(job.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		r.env.Events.Eventf(c, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("deleting job %s: %w", job.Name, err)
	}
	r.log.Deleted(controller.KeyOf(c), r.jobs, job)
	r.env.Events.Eventf(c, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", job.Name)
	return nil
}

func (r *reconciler) writeStatus(ctx context.Context, c *batchv1.CronJob, status batchv1.CronJobStatus) error {
	if equality.Semantic.DeepEqual(c.Status, status) {
		return nil
	}
	changed := c.DeepCopy()
	changed.Status = status
	result, err := r.env.Client.BatchV1().CronJobs(c.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(c), r.store, result)
	return nil
}
