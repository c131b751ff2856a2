package noderestriction

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/klog/v2"
)

// token allows tokens bound to a pod that runs on the node. That the account is
// the pod's is checked where the token is made.
func (r request) token(ctx context.Context) error {
	if r.GetOperation() != admission.Create || r.GetSubresource() != "token" {
		return nil
	}
	tr, ok := r.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return r.forbid("unexpected type %T", r.GetObject())
	}
	ref := tr.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return r.forbid("node requested token not bound to a pod")
	case ref.UID == "":
		return r.forbid("node requested token with a pod binding without a uid")
	}
	pod, err := r.pod(ctx, ref.Name)
	if err != nil {
		return r.lookup(err)
	}
	switch {
	case pod.UID != ref.UID:
		return r.forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != r.node:
		return r.forbid("node requested token bound to a pod scheduled on a different node")
	}
	if err := r.audience(ctx, tr.Spec.Audiences, pod); err != nil {
		return r.forbid("%w", err)
	}
	return nil
}

// audience allows the audiences that the pod's volumes ask for, and those that
// an administrator has allowed (KEP-4412).
func (r request) audience(ctx context.Context, audiences []string, pod *corev1.Pod) error {
	if len(audiences) > 1 {
		return errors.New("node may only request 0 or 1 audiences")
	}
	var audience string
	if len(audiences) == 1 {
		audience = audiences[0]
	}
	found, err := r.wants(ctx, pod, audience)
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", audience, err)
	}
	if found {
		return nil
	}
	allowed, err := r.authorized(ctx, "request-serviceaccounts-token-audience", audience, r.GetName())
	switch user := r.GetUserInfo().GetName(); {
	case allowed:
		return nil
	case err != nil:
		return fmt.Errorf("error authorizing %s to request tokens for audience %q: %w", user, audience, err)
	default:
		return fmt.Errorf("%s is not authorized to request tokens for audience %q", user, audience)
	}
}

// authorized asks whether the node may use verb on a made-up resource.
func (r request) authorized(ctx context.Context, verb, resource, name string) (bool, error) {
	decision, _, err := r.plugin.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: r.GetUserInfo(), Verb: verb, APIGroup: r.GetResource().Group, APIVersion: r.GetResource().Version,
		Resource: resource, Namespace: r.GetNamespace(), Name: name, ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow, err
}

// wants reports whether a volume of the pod is for tokens of the audience: a
// projected token, or one that a CSI driver asks for.
func (r request) wants(ctx context.Context, pod *corev1.Pod, audience string) (bool, error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
		}) {
			return true, nil
		}
		driver, err := r.driverOf(ctx, pod, v)
		if err != nil || driver == "" {
			errs = append(errs, err)
			continue
		}
		d, err := r.plugin.client.StorageV1().CSIDrivers().Get(ctx, driver, fromCache())
		if err != nil {
			errs = append(errs, missing(err, storagev1.Resource("csidriver"), driver))
			continue
		}
		if slices.ContainsFunc(d.Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience }) {
			return true, nil
		}
	}
	return false, errors.Join(errs...)
}

// driverOf is the CSI driver that serves the volume, or "".
func (r request) driverOf(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (string, error) {
	switch {
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		return r.driverOfClaim(ctx, pod.Namespace, ephemeral.VolumeClaimName(pod, v))
	case v.PersistentVolumeClaim != nil:
		return r.driverOfClaim(ctx, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
	case v.CSI != nil:
		return v.CSI.Driver, nil
	case r.plugin.translator.IsInlineMigratable(v):
		pv, err := r.plugin.translator.TranslateInTreeInlineVolumeToCSI(klog.FromContext(ctx), v, pod.Namespace)
		return driverName(pv), err
	}
	return "", nil
}

func (r request) driverOfClaim(ctx context.Context, namespace, name string) (string, error) {
	claim, err := r.plugin.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, fromCache())
	if err != nil {
		return "", missing(err, corev1.Resource("persistentvolumeclaim"), name)
	}
	pv, err := r.plugin.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, fromCache())
	if err != nil {
		return "", missing(err, corev1.Resource("persistentvolume"), claim.Spec.VolumeName)
	}
	if pv.Spec.CSI == nil && r.plugin.translator.IsPVMigratable(pv) {
		if pv, err = r.plugin.translator.TranslateInTreePVToCSI(klog.FromContext(ctx), pv); err != nil {
			return "", err
		}
	}
	return driverName(pv), nil
}

func driverName(pv *corev1.PersistentVolume) string {
	if pv == nil || pv.Spec.CSI == nil {
		return ""
	}
	return pv.Spec.CSI.Driver
}

// fromCache reads through the server's watch cache.
func fromCache() metav1.GetOptions { return metav1.GetOptions{ResourceVersion: "0"} }
