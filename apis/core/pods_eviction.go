package core

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/apps/poddisruptionbudget"
	"k8s.io/utils/ptr"
)

// maxDisruptedPods bounds the pods a budget remembers as being evicted.
const maxDisruptedPods = 2000

// policyBeta is the version of evictions before policy/v1.
var policyBeta = schema.GroupVersion{Group: policyv1.GroupName, Version: "v1beta1"}

// evictionRetries bound how long an eviction fights for its budget and its pod.
var evictionRetries = wait.Backoff{Steps: 20, Duration: 500 * time.Millisecond, Factor: 1, Jitter: 0.1}

// evictionEndpoint serves pods/NAME/eviction: a delete that asks the pod's
// disruption budget first.
type evictionEndpoint struct {
	store  *registry.Store
	status rest.Updater // of pods
	client kubernetes.Interface
}

var (
	_ rest.NamedCreater             = evictionEndpoint{}
	_ rest.GroupVersionKindProvider = evictionEndpoint{}
	_ rest.GroupVersionAcceptor     = evictionEndpoint{}
)

func (e evictionEndpoint) New() runtime.Object { return &policyv1.Eviction{} }
func (e evictionEndpoint) Destroy()            {}

func (e evictionEndpoint) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// AcceptsGroupVersion implements rest.GroupVersionAcceptor: older drainers still
// send the form of policy/v1beta1, which is the same.
func (e evictionEndpoint) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == policyBeta
}

func (e evictionEndpoint) Create(ctx context.Context, name string, obj runtime.Object, valid rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	ev, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	if name != ev.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	options, err := evictionOptions(ev, o)
	if err != nil {
		return nil, err
	}
	if valid != nil {
		if err := valid(ctx, ev.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	pod, done, err := e.evictFreely(ctx, name, options)
	if err != nil {
		return nil, err
	}
	if !done {
		if status, err := e.evict(ctx, pod, options); status != nil || err != nil {
			return status, err
		}
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// evictionOptions are the options of the delete; a dry run of the request is
// one of the delete, and the two must not contradict.
func evictionOptions(ev *policyv1.Eviction, o *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	options := &metav1.DeleteOptions{}
	if ev.DeleteOptions != nil {
		options = ev.DeleteOptions.DeepCopy()
	}
	if ptr.Deref(options.IgnoreStoreReadErrorWithClusterBreakingPotential, false) {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: policyv1.GroupName, Kind: "Eviction"}, ev.Name, field.ErrorList{
			field.Invalid(field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential"), true, "can not be set for pod eviction, try after removing the option"),
		})
	}
	if len(o.DryRun) > 0 && len(options.DryRun) > 0 && !reflect.DeepEqual(options.DryRun, o.DryRun) {
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", o.DryRun, options.DryRun) //nolint:staticcheck // shown to users as it is
	}
	if len(o.DryRun) > 0 {
		options.DryRun = o.DryRun
	}
	return options, nil
}

// evictFreely deletes a pod whose end disrupts nobody, and reports whether it
// was one. A pending pod must not come to run meanwhile: the delete is of the
// version that was read, and tried again when that has changed.
func (e evictionEndpoint) evictFreely(ctx context.Context, name string, options *metav1.DeleteOptions) (pod *corev1.Pod, done bool, err error) {
	fixed := versioned(options)
	err = retry.OnError(evictionRetries, func(err error) bool { return apierrors.IsConflict(err) && !fixed }, func() error {
		if pod, err = get[*corev1.Pod](ctx, e.store, name); err != nil || !evictable(pod) {
			return err
		}
		o := options
		if pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil && !fixed {
			o = ofVersion(options, pod)
		}
		done = true
		return e.remove(ctx, name, o)
	})
	return pod, done, err
}

// evict deletes a running pod if its budget, which it may have one of, allows.
// A status instead of an error is the answer as it is.
func (e evictionEndpoint) evict(ctx context.Context, pod *corev1.Pod, options *metav1.DeleteOptions) (*metav1.Status, error) {
	budgets, err := e.budgets(ctx, pod)
	if err != nil {
		return nil, err
	}
	if len(budgets) > 1 {
		return &metav1.Status{Status: metav1.StatusFailure, Code: 500, Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}, nil
	}
	if len(budgets) == 0 {
		return nil, e.remove(ctx, pod.Name, options)
	}
	budget := &budgets[0]
	if !unhealthyMayGo(pod, budget) {
		if err := e.spend(ctx, pod, budget, dryrun.IsDryRun(options.DryRun)); err != nil {
			return nil, err
		}
		return nil, e.remove(ctx, pod.Name, options)
	}
	// it may go only as long as it isn't ready
	err = e.remove(ctx, pod.Name, ofVersion(options, pod))
	if apierrors.IsConflict(err) && !versioned(options) {
		return nil, stillProcessed(budget.Name)
	}
	return nil, err
}

func versioned(o *metav1.DeleteOptions) bool {
	return o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
}

// ofVersion is o for the pod as it was read.
func ofVersion(o *metav1.DeleteOptions, pod *corev1.Pod) *metav1.DeleteOptions {
	out := o.DeepCopy()
	if out.Preconditions == nil {
		out.Preconditions = &metav1.Preconditions{}
	}
	out.Preconditions.ResourceVersion = &pod.ResourceVersion
	return out
}

// remove says in the pod's conditions why it ends, and deletes it (KEP-3329).
func (e evictionEndpoint) remove(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(options.DryRun) {
		obj, _, err := e.status.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
			return disrupted(old.(*corev1.Pod), options.Preconditions)
		}), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		if versioned(options) {
			options = ofVersion(options, obj.(*corev1.Pod))
		}
	}
	_, _, err := e.store.Delete(ctx, name, rest.ValidateAllObjectFunc, options)
	return err
}

func disrupted(old *corev1.Pod, pre *metav1.Preconditions) (*corev1.Pod, error) {
	conflict := func(what, want, have, why string) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, old.Name,
			fmt.Errorf("the %s in the precondition (%s) does not match the %s in record (%s). The object might have been %s", what, want, what, have, why))
	}
	if pre != nil && pre.UID != nil && *pre.UID != "" && *pre.UID != old.UID {
		return nil, conflict("UID", string(*pre.UID), string(old.UID), "deleted and then recreated")
	}
	if pre != nil && pre.ResourceVersion != nil && *pre.ResourceVersion != "" && *pre.ResourceVersion != old.ResourceVersion {
		return nil, conflict("ResourceVersion", *pre.ResourceVersion, old.ResourceVersion, "modified")
	}
	p := old.DeepCopy()
	setCondition(&p.Status, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
	})
	return p, nil
}

// evictable reports whether a pod's end disrupts nobody.
func evictable(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed ||
		p.Status.Phase == corev1.PodPending || p.DeletionTimestamp != nil
}

// budgets are those that cover the pod.
func (e evictionEndpoint) budgets(ctx context.Context, pod *corev1.Pod) (out []policyv1.PodDisruptionBudget, err error) {
	list, err := e.client.PolicyV1().PodDisruptionBudgets(pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		sel, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			out = append(out, list.Items[i])
		}
	}
	return out, nil
}

// spend takes one disruption from the budget, or says why there is none.
func (e evictionEndpoint) spend(ctx context.Context, pod *corev1.Pod, b *policyv1.PodDisruptionBudget, dry bool) error {
	budgets := e.client.PolicyV1().PodDisruptionBudgets(pod.Namespace)
	name, stale := b.Name, false
	err := retry.RetryOnConflict(evictionRetries, func() (err error) {
		if stale {
			if b, err = budgets.Get(ctx, name, metav1.GetOptions{}); err != nil {
				return err
			}
		}
		stale = true
		if err := takeDisruption(b, pod.Name); err != nil || dry {
			return err
		}
		_, err = budgets.UpdateStatus(ctx, b, metav1.UpdateOptions{})
		return err
	})
	if wait.Interrupted(err) {
		return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", name), 10)
	}
	return err
}

// unhealthyMayGo applies the budget's policy for pods that aren't ready.
func unhealthyMayGo(pod *corev1.Pod, b *policyv1.PodDisruptionBudget) bool {
	if podReady(pod) {
		return false
	}
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// takeDisruption books the eviction of a pod in the budget's status.
func takeDisruption(b *policyv1.PodDisruptionBudget, pod string) error {
	s := &b.Status
	switch {
	case s.ObservedGeneration < b.Generation:
		return stillProcessed(b.Name)
	case s.DisruptionsAllowed < 0:
		return evictionForbidden(b.Name, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxDisruptedPods:
		return evictionForbidden(b.Name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller", "too many pending evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed == 0:
		return tooManyEvictions(0, whyNone(b))
	}
	if s.DisruptionsAllowed--; s.DisruptionsAllowed == 0 {
		poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
	}
	if s.DisruptedPods == nil {
		s.DisruptedPods = map[string]metav1.Time{}
	}
	s.DisruptedPods[pod] = metav1.Now()
	return nil
}

// whyNone explains a budget that allows no disruption.
func whyNone(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	said := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case said && c.Reason == policyv1.SyncFailedReason: // the counts of a failed sync mean nothing
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case said:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

func stillProcessed(budget string) error {
	return tooManyEvictions(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

// tooManyEvictions is the 429 that tells drainers to try again later.
func tooManyEvictions(seconds int, why string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", seconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}

func evictionForbidden(budget, text, why string) error {
	err := apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), budget, errors.New(text))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", budget, why),
	})
	return err
}
