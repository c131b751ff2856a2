// Package job runs the pods of Jobs to completion.
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"

	"skiff/controllers/internal/batch"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
	"skiff/controllers/internal/written"
)

func kind() schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind("Job") }

type reconciler struct {
	env   controller.Env
	jobs  listers.JobLister
	store written.Store
	pods  cache.Indexer
	log   written.Log
	pace  written.Pace
	plans written.Pace

	mu       sync.Mutex
	failures map[controller.Key]known
}

// known are the failures of the job with that UID.
type known struct {
	uid types.UID
	Failures
}

// New declares the controller.
func New(env controller.Env) (controller.Spec, error) {
	jobs, pods := env.Informers.Batch().V1().Jobs(), env.Informers.Core().V1().Pods().Informer()
	if err := owner.AddIndex(pods); err != nil {
		return controller.Spec{}, err
	}
	if err := pods.AddIndexers(cache.Indexers{heldIndex: heldFor}); err != nil {
		return controller.Spec{}, fmt.Errorf("indexing held pods: %w", err)
	}
	r := &reconciler{env: env, jobs: jobs.Lister(), store: jobs.Informer().GetIndexer(), pods: pods.GetIndexer(), failures: map[controller.Key]known{}}
	return controller.Spec{
		Name: "job", Reconcile: r.reconcile,
		Watches: []controller.Watch{
			{Informer: jobs.Informer(), Keys: controller.Self},
			{Informer: pods, Keys: controller.Owner("Job", r.matching)},
			{Informer: pods, Keys: orphan},
		},
	}, nil
}

// matching answers the jobs that could adopt an orphaned pod.
func (r *reconciler) matching(pod metav1.Object) []controller.Key {
	if len(pod.GetLabels()) == 0 {
		return nil
	}
	jobs, err := r.jobs.Jobs(pod.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, j := range jobs {
		selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.GetLabels())) {
			keys = append(keys, controller.KeyOf(j))
		}
	}
	return keys
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	job, err := r.jobs.Jobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		r.pace.Forget(key)
		r.plans.Forget(key)
		r.forget(key)
		return controller.Result{}, r.releaseOrphans(ctx, key, nil)
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading job: %w", err)
	}
	if by := job.Spec.ManagedBy; by != nil && *by != batchv1.JobControllerName {
		return controller.Result{}, nil
	}
	now := r.env.Clock.Now()
	if wait := r.plans.Wait(key, written.Gather(max(deref(job.Spec.Parallelism), job.Status.Active)), now); wait > 0 {
		return controller.Result{RequeueAfter: wait}, nil
	}
	r.plans.Wrote(key, now)
	pods, err := r.claim(ctx, job)
	if err != nil {
		return controller.Result{}, err
	}
	if err := r.releaseOrphans(ctx, key, pods); err != nil {
		return controller.Result{}, err
	}
	if Finished(job) {
		r.pace.Forget(key)
		r.plans.Forget(key)
		r.forget(key)
		return controller.Result{}, r.release(ctx, key, Leftovers(pods))
	}
	snapshot := Snapshot{Job: job, Pods: pods, Failures: r.remembered(job), Now: r.env.Clock.Now()}
	plan := NewPlan(snapshot)
	if onTheWay(job.Status, plan.Status) {
		plan = plan.rest(r.pace.Wait(key, written.Rest(size(job, plan.Status), 0), snapshot.Now))
	}
	return controller.Result{RequeueAfter: plan.After}, r.apply(ctx, snapshot, plan)
}

func (r *reconciler) claim(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("reading the selector: %w", err)
	}
	candidates, err := owner.Candidates[*corev1.Pod](r.pods, job)
	if err != nil {
		return nil, err
	}
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: job, Kind: kind(), Finalizers: []string{batchv1.JobTrackingFinalizer}, Patch: podset.Patcher(r.env.Client),
		Fresh: func(ctx context.Context) (metav1.Object, error) {
			return r.env.Client.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		},
		Wrote: func(p *corev1.Pod) { r.log.Wrote(controller.KeyOf(job), r.pods, p) },
	}
	return claimer.Apply(ctx, owner.Plan(job, selector, candidates))
}

// apply keeps the order of Plan: an end is in the status before the pod is let go.
func (r *reconciler) apply(ctx context.Context, s Snapshot, plan Plan) error {
	control := podset.Control{
		Client: r.env.Client, Events: r.env.Events, Log: &r.log, Store: r.pods, Key: controller.KeyOf(s.Job), Object: s.Job,
	}
	_, created := batch.SlowStart(ctx, len(plan.Create), func(ctx context.Context, i int) error {
		return control.Create(ctx, newPod(s, plan, plan.Create[i]))
	})
	dropped := r.drop(ctx, controller.KeyOf(s.Job), control, plan.Drop)
	_, stopped := batch.All(ctx, len(plan.Stop), func(ctx context.Context, i int) error { return control.Delete(ctx, plan.Stop[i]) })
	if plan.Later {
		return errors.Join(podset.IgnoreTerminating(created), dropped, stopped)
	}
	written := r.writeStatus(ctx, s.Job, plan.Status)
	if written == nil {
		r.remember(s.Job, plan.Failures)
		for _, n := range plan.Notes {
			r.env.Events.Event(s.Job, n.Type, n.Reason, n.Message)
		}
		written = r.release(ctx, controller.KeyOf(s.Job), plan.Release)
	}
	return errors.Join(podset.IgnoreTerminating(created), dropped, stopped, written)
}

// remembered answers what is known of a job's failures, nil if nothing is.
func (r *reconciler) remembered(job *batchv1.Job) *Failures {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.failures[controller.KeyOf(job)]; ok && k.uid == job.UID {
		return &k.Failures
	}
	return nil
}

func (r *reconciler) remember(job *batchv1.Job, f Failures) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[controller.KeyOf(job)] = known{job.UID, f}
}

func (r *reconciler) forget(key controller.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failures, key)
}

// drop lets pods go before it deletes them, so that their end is not counted. One that has changed since is left to the
// next plan: it may have ended, and that counts.
func (r *reconciler) drop(ctx context.Context, key controller.Key, control podset.Control, pods []*corev1.Pod) error {
	_, err := batch.All(ctx, len(pods), func(ctx context.Context, i int) error {
		if tracked(pods[i]) {
			done, err := r.untrack(ctx, key, pods[i], pods[i].ResourceVersion)
			if err != nil || !done {
				return err
			}
		}
		return control.Delete(ctx, pods[i])
	})
	return err
}

// release removes the tracking finalizer of pods whose end is in the status.
func (r *reconciler) release(ctx context.Context, key controller.Key, pods []*corev1.Pod) error {
	_, err := batch.All(ctx, len(pods), func(ctx context.Context, i int) error {
		_, err := r.untrack(ctx, key, pods[i], "")
		return err
	})
	return err
}

// untrack removes the tracking finalizer, if version is not empty only from the pod as it was in that version. It answers
// false for a pod that is gone, another one or of another version by now.
func (r *reconciler) untrack(ctx context.Context, key controller.Key, pod *corev1.Pod, version string) (bool, error) {
	meta := map[string]any{"uid": pod.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer}}
	if version != "" {
		meta["resourceVersion"] = version
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return false, fmt.Errorf("writing a patch: %w", err)
	}
	result, err := r.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("releasing pod %s: %w", pod.Name, err)
	}
	if pod.DeletionTimestamp == nil { // one that was deleted is gone now, and its version is never seen
		r.log.Wrote(key, r.pods, result)
	}
	return true, nil
}

func (r *reconciler) writeStatus(ctx context.Context, job *batchv1.Job, status batchv1.JobStatus) error {
	if equality.Semantic.DeepEqual(job.Status, status) {
		return nil
	}
	changed := job.DeepCopy()
	changed.Status = status
	result, err := r.env.Client.BatchV1().Jobs(job.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("updating status: %w", err)
	}
	r.log.Wrote(controller.KeyOf(job), r.store, result)
	r.pace.Wrote(controller.KeyOf(job), r.env.Clock.Now())
	return nil
}
