// Package typecheck tells the authors of ValidatingAdmissionPolicies what is wrong with their expressions: it checks
// them against the types that a policy's rules name, and writes what it finds into the policy's status (KEP-3488).
//
// A policy is checked once for each generation. Types that appear or change later are seen when the policy changes.
package typecheck

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	informers "k8s.io/client-go/informers/admissionregistration/v1"
	listers "k8s.io/client-go/listers/admissionregistration/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

const (
	// Account is the service account in kube-system that may write the status.
	Account = "validatingadmissionpolicy-status-controller"
	manager = "validatingadmissionpolicy-status"
	workers = 5
)

// Policy is what is checked.
type Policy = admissionv1.ValidatingAdmissionPolicy

// Writer writes the status of policies.
type Writer interface {
	ApplyStatus(ctx context.Context, policy *apply.ValidatingAdmissionPolicyApplyConfiguration, opts metav1.ApplyOptions) (*Policy, error)
}

// Check answers what is wrong with a policy's expressions; it must be safe for use by several goroutines.
type Check func(*Policy) []admissionv1.ExpressionWarning

// Checker checks policies. Several may work on the same ones: all come to the same result.
type Checker struct {
	policies listers.ValidatingAdmissionPolicyLister
	writer   Writer
	check    Check
	queue    workqueue.TypedRateLimitingInterface[string]
	synced   cache.DoneChecker
}

// New registers the informer of policies; it starts nothing.
func New(policies informers.ValidatingAdmissionPolicyInformer, writer Writer, check Check) (*Checker, error) {
	c := &Checker{
		policies: policies.Lister(), writer: writer, check: check,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[string](), workqueue.TypedRateLimitingQueueConfig[string]{Name: manager}),
	}
	registered, err := policies.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.enqueue,
		UpdateFunc: func(_, o any) { c.enqueue(o) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching policies: %w", err)
	}
	c.synced = registered.HasSyncedChecker()
	return c, nil
}

func (c *Checker) enqueue(o any) {
	if p, ok := o.(*Policy); ok && Pending(p) {
		c.queue.Add(p.Name)
	}
}

// Run checks policies until ctx ends, and returns when nothing runs any more.
func (c *Checker) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, c.queue.ShutDown)()
	if !cache.WaitFor(ctx, "", c.synced) {
		return
	}
	var all errgroup.Group
	for range workers {
		all.Go(func() error {
			for c.next(ctx) {
			}
			return nil
		})
	}
	_ = all.Wait()
}

func (c *Checker) next(ctx context.Context) bool {
	name, stop := c.queue.Get()
	if stop {
		return false
	}
	defer c.queue.Done(name)
	if err := c.sync(ctx, name); err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Checking the types of a policy", "policy", name)
		}
		c.queue.AddRateLimited(name)
		return true
	}
	c.queue.Forget(name)
	return true
}

func (c *Checker) sync(ctx context.Context, name string) error {
	p, err := c.policies.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading policy: %w", err)
	}
	if !Pending(p) {
		return nil
	}
	_, err = c.writer.ApplyStatus(ctx, Status(p, c.check(p)), metav1.ApplyOptions{FieldManager: manager, Force: true})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing status: %w", err)
	}
	return nil
}

// Pending answers whether the policy has a generation that was not checked.
func Pending(p *Policy) bool { return p.Generation > p.Status.ObservedGeneration }

// Status answers the status of a policy with these warnings.
func Status(p *Policy, warnings []admissionv1.ExpressionWarning) *apply.ValidatingAdmissionPolicyApplyConfiguration {
	types := apply.TypeChecking()
	for _, w := range warnings {
		types.WithExpressionWarnings(apply.ExpressionWarning().WithFieldRef(w.FieldRef).WithWarning(w.Warning))
	}
	return apply.ValidatingAdmissionPolicy(p.Name).
		WithStatus(apply.ValidatingAdmissionPolicyStatus().WithObservedGeneration(p.Generation).WithTypeChecking(types))
}
