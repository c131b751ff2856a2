// Package horizontalpodautoscaler gives workloads the number of replicas that their metrics ask for.
//
// Once a period each HorizontalPodAutoscaler has its round: the scale of its target is read, then its metrics, of
// which plan.go makes a number of replicas: usage.go judges the pods' samples, replicas.go and metric.go turn them into
// proposals, limit.go holds the highest within spec.behavior. Then scale and status are written. Anything that has a
// scale subresource can be a target.
package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listers "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/kinds"
	"skiff/controllers/internal/written"
)

// Config is how autoscalers behave that do not say otherwise.
type Config struct {
	// Period is the time between the rounds of an autoscaler.
	Period time.Duration
	// Stabilization is how long the highest recommendation holds before pods are removed.
	Stabilization time.Duration
	// Tolerance is how far, as a share of the target, a metric may be off it without any change.
	Tolerance float64
	// CPUInitialization is the time after a pod's start in which its usage of CPU counts only while it is ready,
	// InitialReadiness the time in which becoming unready still means that it was never ready.
	CPUInitialization, InitialReadiness time.Duration
}

// Default answers v1.37's defaults.
func Default() Config {
	return Config{
		Period: 15 * time.Second, Stabilization: 5 * time.Minute, Tolerance: 0.1,
		CPUInitialization: 5 * time.Minute, InitialReadiness: 30 * time.Second,
	}
}

// Validate answers what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.Period <= 0:
		return errors.New("the period of autoscaling must be positive")
	case c.Stabilization < 0 || c.Tolerance < 0 || c.CPUInitialization < 0 || c.InitialReadiness < 0:
		return errors.New("the times and the tolerance of autoscaling must not be negative")
	default:
		return nil
	}
}

type reconciler struct {
	env         controller.Env
	cfg         Config
	autoscalers listers.HorizontalPodAutoscalerLister
	pods        corelisters.PodLister
	store       written.Store
	log         written.Log
	target      *target
	source      *source
	memories    memories
	counters    *counters
}

// New declares the controller.
func New(env controller.Env, cfg Config) (controller.Spec, error) {
	autoscalers, pods := env.Informers.Autoscaling().V2().HorizontalPodAutoscalers(), env.Informers.Core().V1().Pods()
	known := kinds.New(env)
	target, err := newTarget(env, known)
	if err != nil {
		return controller.Spec{}, err
	}
	source, err := newSource(env, known, cfg.Period)
	if err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{
		env: env, cfg: cfg, autoscalers: autoscalers.Lister(), pods: pods.Lister(), store: autoscalers.Informer().GetIndexer(),
		target: target, source: source, counters: newCounters(),
	}
	if err := r.counters.register(env.Metrics); err != nil {
		return controller.Spec{}, err
	}
	return controller.Spec{
		Name: "horizontalpodautoscaler", Reconcile: r.reconcile,
		Watches: []controller.Watch{{Informer: autoscalers.Informer(), Keys: changed}, {Informer: pods.Informer(), Keys: nobody}},
	}, nil
}

// changed names autoscalers that are new, gone or have another spec. What the controller itself writes to the status is
// no reason for another round.
func changed(before, after metav1.Object) []controller.Key {
	if before != nil && after != nil && before.GetGeneration() == after.GetGeneration() && before.GetUID() == after.GetUID() {
		return nil
	}
	return controller.Self(before, after)
}

// nobody makes the controller wait for the cache of pods, and no more: time alone starts rounds.
func nobody(_, _ metav1.Object) []controller.Key { return nil }

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		r.counters.skip()
		return controller.Result{RequeueAfter: min(written.Repair, r.cfg.Period)}, nil
	}
	a, err := r.autoscalers.HorizontalPodAutoscalers(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		r.log.Forget(key)
		if r.memories.forget(key) {
			r.counters.autoscalers.Dec()
			r.counters.desired.DeleteLabelValues(key.Namespace, key.Name)
		}
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading autoscaler: %w", err)
	}
	// What failed has its next chance in the next round, as everything else.
	if err := r.round(ctx, key, a); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "autoscaling")
	}
	return controller.Result{RequeueAfter: r.cfg.Period}, nil
}

// round has one autoscaler do its work once.
func (r *reconciler) round(ctx context.Context, key controller.Key, a *autoscalingv2.HorizontalPodAutoscaler) error {
	start := r.env.Clock.Now()
	history, first := r.memories.of(key, a.UID)
	if first {
		r.counters.autoscalers.Inc()
	}
	found, of, shown, err := r.target.find(ctx, a)
	if ctx.Err() != nil {
		return nil // whatever failed, it failed for want of time
	}
	if err != nil {
		plan := Unscalable(a, shown, start)
		plan.Err = err
		return r.end(ctx, a, plan, start, 0, nil)
	}
	s := Snapshot{
		Autoscaler: a, Scale: found, History: history, Tolerance: r.cfg.Tolerance, Window: r.cfg.Stabilization,
		Patience: Patience{Initialization: r.cfg.CPUInitialization, Readiness: r.cfg.InitialReadiness},
	}
	current := found.Spec.Replicas
	var took []time.Duration
	if Measured(a, current) {
		took = r.measure(ctx, key, &s)
	}
	s.Now = r.env.Clock.Now()
	plan := Decide(s)
	if plan.Rescale {
		plan = Rescaled(s, plan, r.target.set(ctx, of, found, plan.Replicas))
	}
	if ctx.Err() != nil && !plan.Scaled {
		return nil
	}
	r.memories.keep(key, plan.History)
	if !plan.Failed {
		r.counters.want(key, plan.Replicas)
	}
	return r.end(ctx, a, plan, start, current, took)
}

// measure reads what Decide needs to know of pods and metrics, and answers how long each metric took.
func (r *reconciler) measure(ctx context.Context, key controller.Key, s *Snapshot) []time.Duration {
	selector, refusal := parse(s.Scale.Status.Selector)
	if s.Selection = refusal; refusal != nil {
		return nil
	}
	others := r.memories.others(key, selector)
	pods, err := r.pods.Pods(key.Namespace).List(selector)
	if err != nil {
		s.Selection = &Refusal{Err: err}
		return nil
	}
	if s.Selection = ambiguous(key, s.Scale.Status.Selector, others, pods); s.Selection != nil {
		return nil
	}
	s.Pods = pods
	took := make([]time.Duration, len(s.Autoscaler.Spec.Metrics))
	for i := range s.Autoscaler.Spec.Metrics {
		start := r.env.Clock.Now()
		s.Readings = append(s.Readings, r.source.read(ctx, &s.Autoscaler.Spec.Metrics[i], key.Namespace, selector))
		took[i] = r.env.Clock.Since(start)
	}
	return took
}

// end tells what came of a round: events, counts, and the status if it changed.
func (r *reconciler) end(ctx context.Context, a *autoscalingv2.HorizontalPodAutoscaler, plan Plan, start time.Time, current int32, took []time.Duration) error {
	for _, e := range plan.Events {
		r.env.Events.Event(a, e.Type, e.Reason, e.Message)
	}
	err := r.write(ctx, a, plan.Status)
	if err != nil {
		plan.Err = err
	}
	r.counters.round(plan, a.Status.CurrentReplicas, current, r.env.Clock.Since(start), took)
	return plan.Err
}

func (r *reconciler) write(ctx context.Context, a *autoscalingv2.HorizontalPodAutoscaler, status autoscalingv2.HorizontalPodAutoscalerStatus) error {
	if equality.Semantic.DeepEqual(a.Status, status) {
		return nil
	}
	changed := a.DeepCopy()
	changed.Status = status
	result, err := r.env.Client.AutoscalingV2().HorizontalPodAutoscalers(a.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		r.env.Events.Event(a, corev1.EventTypeWarning, "FailedUpdateStatus", err.Error())
		return fmt.Errorf("failed to update status for %s: %w", a.Name, err)
	}
	r.log.Wrote(controller.KeyOf(a), r.store, result)
	return nil
}
