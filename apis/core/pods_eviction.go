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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// maxDisruptedPods bounds the pods a budget remembers as being evicted.
const maxDisruptedPods = 2000

// evictionEndpoint serves pods/NAME/eviction: a delete that asks the pod's
// disruption budget first.
type evictionEndpoint struct {
	store  *registry.Store
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

func (e evictionEndpoint) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion
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
	if _, err := e.store.Get(ctx, name, &metav1.GetOptions{}); err != nil {
		return nil, err
	}
	if valid != nil {
		if err := valid(ctx, ev.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := e.evict(ctx, name, options); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// evictionOptions are the options of the delete; a dry run of the request is
// one of the delete, and the two must not contradict.
func evictionOptions(ev *policyv1.Eviction, o *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	options := &metav1.DeleteOptions{}
	if ev.DeleteOptions != nil {
		options = ev.DeleteOptions.DeepCopy()
	}
	if len(o.DryRun) > 0 && len(options.DryRun) > 0 && !reflect.DeepEqual(options.DryRun, o.DryRun) {
		return nil, fmt.Errorf("non-matching dry-run options in request and content: %v and %v", o.DryRun, options.DryRun)
	}
	if len(o.DryRun) > 0 {
		options.DryRun = o.DryRun
	}
	return options, nil
}

func (e evictionEndpoint) evict(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	pod, err := get[*corev1.Pod](ctx, e.store, name)
	if err != nil {
		return err
	}
	if !evictable(pod) {
		budget, err := e.budget(ctx, pod)
		if err != nil {
			return err
		}
		if budget != "" {
			if err := e.spend(ctx, pod, budget, dryrun.IsDryRun(options.DryRun)); err != nil {
				return err
			}
		}
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	if options.Preconditions.UID == nil {
		options.Preconditions.UID = &pod.UID
	}
	_, _, err = e.store.Delete(ctx, name, rest.ValidateAllObjectFunc, options)
	return err
}

// evictable reports whether a pod's end disrupts nobody.
func evictable(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed ||
		p.Status.Phase == corev1.PodPending || p.DeletionTimestamp != nil
}

// budget names the one budget that covers the pod.
func (e evictionEndpoint) budget(ctx context.Context, pod *corev1.Pod) (string, error) {
	ns, _ := genericrequest.NamespaceFrom(ctx)
	list, err := e.client.PolicyV1().PodDisruptionBudgets(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	name := ""
	for i := range list.Items {
		sel, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err != nil || !sel.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if name != "" {
			return "", apierrors.NewInternalError(errors.New("this pod has more than one PodDisruptionBudget, which the eviction subresource does not support"))
		}
		name = list.Items[i].Name
	}
	return name, nil
}

// spend takes one disruption from the budget, or says why there is none.
func (e evictionEndpoint) spend(ctx context.Context, pod *corev1.Pod, name string, dry bool) error {
	budgets := e.client.PolicyV1().PodDisruptionBudgets(pod.Namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		b, err := budgets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if unhealthyMayGo(pod, b) {
			return nil
		}
		if err := takeDisruption(b, pod.Name); err != nil || dry {
			return err
		}
		_, err = budgets.UpdateStatus(ctx, b, metav1.UpdateOptions{})
		return err
	})
	if apierrors.IsConflict(err) {
		return tooManyEvictions("couldn't update PodDisruptionBudget due to conflicts")
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
	forbidden := func(text string) error {
		return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(text))
	}
	switch {
	case s.ObservedGeneration < b.Generation:
		return tooManyEvictions(fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case s.DisruptionsAllowed < 0:
		return forbidden("pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxDisruptedPods:
		return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed == 0:
		return tooManyEvictions(fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy))
	}
	s.DisruptionsAllowed--
	if s.DisruptedPods == nil {
		s.DisruptedPods = map[string]metav1.Time{}
	}
	s.DisruptedPods[pod] = metav1.Time{Time: time.Now()}
	return nil
}

// tooManyEvictions is the 429 that tells drainers to try again later.
func tooManyEvictions(why string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}
