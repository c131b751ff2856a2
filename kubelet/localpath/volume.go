package localpath

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

func (p *Provisioner) reconcileVolume(ctx context.Context, key types.NamespacedName) error {
	volume, err := p.volumes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading volume: %w", err)
	}
	if !Ours(volume, p.hostname()) {
		return nil
	}
	if wanted := Finalizers(volume); !slices.Equal(wanted, volume.Finalizers) {
		return p.setFinalizers(ctx, volume, wanted)
	}
	if !Reclaims(volume) {
		return nil
	}
	if err := p.orphaned(volume.Spec.ClaimRef); err != nil {
		return err
	}
	if err := p.remove(volume); err != nil {
		kind, reason := corev1.EventTypeWarning, "VolumeFailedDelete"
		if errors.Is(err, ErrInUse) {
			kind, reason = corev1.EventTypeNormal, "VolumeDelete"
		}
		p.events.Event(volume, kind, reason, err.Error())
		return err
	}
	return p.forget(ctx, volume)
}

// remove removes the volume's directory, unless something may still use it.
func (p *Provisioner) remove(volume *corev1.PersistentVolume) error {
	if path := volume.Spec.Local.Path; path != p.disk.Path(volume.Name) {
		return fmt.Errorf("%s is not the directory of volume %s", path, volume.Name)
	}
	user, err := p.user(volume.Spec.ClaimRef)
	if err != nil {
		return err
	}
	if user != "" {
		return fmt.Errorf("%w by pod %s", ErrInUse, user)
	}
	return p.disk.Remove(volume.Name)
}

// orphaned is an error while the cache still has the claim, which has gone before its volume was released.
func (p *Provisioner) orphaned(ref *corev1.ObjectReference) error {
	if ref == nil {
		return nil
	}
	claim, err := p.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name)
	switch {
	case apierrors.IsNotFound(err) || (err == nil && claim.UID != ref.UID):
		return nil
	case err != nil:
		return fmt.Errorf("reading claim: %w", err)
	}
	return fmt.Errorf("claim %s/%s is still there", ref.Namespace, ref.Name)
}

// user answers a pod of this node that may still hold the volume of a claim that is gone; "" if there is none. Where
// another claim has taken the name, pods mean that one.
func (p *Provisioner) user(ref *corev1.ObjectReference) (string, error) {
	if ref == nil {
		return "", nil
	}
	if _, err := p.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name); err == nil {
		return "", nil
	}
	pods, err := p.pods.Pods(ref.Namespace).List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("listing pods: %w", err)
	}
	for _, pod := range pods {
		if p.holds(pod, ref.Name) {
			return pod.Namespace + "/" + pod.Name, nil
		}
	}
	return "", nil
}

func (p *Provisioner) holds(pod *corev1.Pod, claim string) bool {
	if pod.Spec.NodeName != p.config.Node || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return (v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim) ||
			(v.Ephemeral != nil && ephemeral.VolumeClaimName(pod, &v) == claim)
	})
}

// forget deletes the volume whose directory is gone, and lets go of it.
func (p *Provisioner) forget(ctx context.Context, volume *corev1.PersistentVolume) error {
	volumes := p.client.CoreV1().PersistentVolumes()
	err := volumes.Delete(ctx, volume.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(volume.UID))})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting volume %s: %w", volume.Name, err)
	}
	live, err := volumes.Get(ctx, volume.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && live.UID != volume.UID) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading volume %s: %w", volume.Name, err)
	}
	return p.setFinalizers(ctx, live, without(live.Finalizers, volumehelpers.PVDeletionProtectionFinalizer))
}

func (p *Provisioner) setFinalizers(ctx context.Context, volume *corev1.PersistentVolume, finalizers []string) error {
	volume = volume.DeepCopy()
	volume.Finalizers = finalizers
	_, err := p.client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating the finalizers of volume %s: %w", volume.Name, err)
	}
	return nil
}
