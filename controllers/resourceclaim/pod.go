package resourceclaim

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	claimmetrics "k8s.io/dynamic-resource-allocation/resourceclaim/metrics"

	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/written"
)

// fieldManager owns status.resourceClaimStatuses of pods.
const fieldManager = "ResourceClaimController"

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if !r.log.Seen(key) {
		return controller.Result{RequeueAfter: written.Repair}, nil
	}
	name, isPod := split(key)
	if !isPod {
		return controller.Result{}, r.claim(ctx, key, name)
	}
	pod, err := r.pods.Pods(key.Namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && pod.DeletionTimestamp != nil) {
		r.log.Forget(key)
		return controller.Result{}, nil
	}
	if err != nil {
		return controller.Result{}, fmt.Errorf("reading pod: %w", err)
	}
	return controller.Result{}, r.pod(ctx, key, pod)
}

// pod makes the pod's claims, notes them in its status, and reserves allocated ones if the scheduler was passed by.
func (r *reconciler) pod(ctx context.Context, key controller.Key, pod *corev1.Pod) error {
	made := map[string]string{}
	for i := range pod.Spec.ResourceClaims {
		c := &pod.Spec.ResourceClaims[i]
		name, err := r.ensure(ctx, key, pod, c)
		if err != nil {
			r.env.Events.Eventf(pod, corev1.EventTypeWarning, "FailedResourceClaimCreation", "PodResourceClaim %s: %v", c.Name, err)
			return fmt.Errorf("pod %s/%s, PodResourceClaim %s: %w", pod.Namespace, pod.Name, c.Name, err)
		}
		if name != "" {
			made[c.Name] = name
		}
	}
	if len(made) > 0 {
		if err := r.note(ctx, key, pod, made); err != nil {
			return err
		}
	}
	for i := range pod.Spec.ResourceClaims {
		if err := r.reserve(ctx, key, pod, &pod.Spec.ResourceClaims[i]); err != nil {
			return err
		}
	}
	return nil
}

// ensure answers the name of a claim that the pod's status does not know yet, "" if there is none.
func (r *reconciler) ensure(ctx context.Context, key controller.Key, pod *corev1.Pod, c *corev1.PodResourceClaim) (string, error) {
	name, owned, err := resourceclaim.Name(pod, c)
	switch {
	case errors.Is(err, resourceclaim.ErrClaimNotFound):
	case err != nil:
		return "", fmt.Errorf("checking for claim before creating it: %w", err)
	case name == nil || c.ResourceClaimTemplateName == nil:
		return "", nil
	default:
		there, err := r.exists(ctx, pod, *name, owned)
		if err != nil {
			return "", fmt.Errorf("checking claim existence: %w", err)
		}
		if there {
			return "", nil
		}
	}
	own, err := r.owned(pod)
	if err != nil {
		return "", fmt.Errorf("finding ResourceClaim for claim %s in pod %s/%s failed: %w", c.Name, pod.Namespace, pod.Name, err)
	}
	if claim := Made(own, c.Name); claim != nil {
		return claim.Name, nil // made by a process that was stopped before it could note it
	}
	return r.create(ctx, key, pod, c)
}

// exists looks in the cache and, if the claim is not there, in the API: one that was deleted is made again, one that
// the cache has not seen is not.
func (r *reconciler) exists(ctx context.Context, pod *corev1.Pod, name string, owned bool) (bool, error) {
	claim, err := r.claims.ResourceClaims(pod.Namespace).Get(name)
	if apierrors.IsNotFound(err) {
		claim, err = r.env.Client.ResourceV1().ResourceClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading claim %s: %w", name, err)
	}
	return !owned || resourceclaim.IsForPod(pod, claim, false) == nil, nil
}

func (r *reconciler) owned(pod *corev1.Pod) ([]*resourcev1.ResourceClaim, error) {
	items, err := r.index.ByIndex(byOwner, pod.Namespace+"/"+string(pod.UID))
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	var all []*resourcev1.ResourceClaim
	for _, item := range items {
		if claim, ok := item.(*resourcev1.ResourceClaim); ok {
			all = append(all, claim)
		}
	}
	return all, nil
}

func (r *reconciler) create(ctx context.Context, key controller.Key, pod *corev1.Pod, c *corev1.PodResourceClaim) (string, error) {
	template, err := r.templates.ResourceClaimTemplates(pod.Namespace).Get(*c.ResourceClaimTemplateName)
	if err != nil {
		return "", fmt.Errorf("resource claim template %q: %w", *c.ResourceClaimTemplateName, err)
	}
	claim := NewClaim(pod, c.Name, template)
	count := func(status string) {
		claimmetrics.ResourceClaimCreate.WithLabelValues(status, adminAccess(claim), "", "Pod").Inc()
	}
	created, err := r.env.Client.ResourceV1().ResourceClaims(pod.Namespace).Create(ctx, claim, metav1.CreateOptions{})
	if err != nil {
		count("failure")
		return "", fmt.Errorf("create ResourceClaim %s: %w", claim.Name, err) // the name is the server's: there is none yet
	}
	count("success")
	r.log.Wrote(key, r.index, created)
	return created.Name, nil
}

func (r *reconciler) note(ctx context.Context, key controller.Key, pod *corev1.Pod, made map[string]string) error {
	status := applycorev1.PodStatus()
	order, names := Names(pod, made)
	for _, name := range order {
		status.WithResourceClaimStatuses(applycorev1.PodResourceClaimStatus().WithName(name).WithResourceClaimName(names[name]))
	}
	wanted := applycorev1.Pod(pod.Name, pod.Namespace).WithStatus(status)
	noted, err := r.env.Client.CoreV1().Pods(pod.Namespace).ApplyStatus(ctx, wanted, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("update pod %s/%s ResourceClaimStatuses: %w", pod.Namespace, pod.Name, err)
	}
	r.log.Wrote(key, r.podIndex, noted)
	return nil
}

func (r *reconciler) reserve(ctx context.Context, key controller.Key, pod *corev1.Pod, c *corev1.PodResourceClaim) error {
	name, owned, err := resourceclaim.Name(pod, c)
	if err != nil || name == nil {
		return nil // it was made only now: its events bring the pod back
	}
	claim, err := r.claims.ResourceClaims(pod.Namespace).Get(*name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading claim %s: %w", *name, err)
	}
	if !Unreserved(pod, claim) {
		return nil
	}
	if owned {
		if err := resourceclaim.IsForPod(pod, claim, false); err != nil {
			return err //nolint:wrapcheck // says all that is to say
		}
	}
	consumer, err := resourceclaim.BindTo(pod, nil, c)
	if err != nil {
		return err //nolint:wrapcheck // says all that is to say
	}
	claim = claim.DeepCopy()
	claim.Status.ReservedFor = append(claim.Status.ReservedFor, consumer)
	updated, err := r.env.Client.ResourceV1().ResourceClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("reserve claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	r.log.Wrote(key, r.index, updated)
	return nil
}
