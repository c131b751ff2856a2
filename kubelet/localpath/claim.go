package localpath

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

func (p *Provisioner) reconcileClaim(ctx context.Context, key types.NamespacedName) error {
	claim, err := p.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading claim: %w", err)
	case claim.Status.Phase == corev1.ClaimBound:
		return p.grow(ctx, claim)
	case !Asks(claim):
		return nil
	}
	class, err := p.classes.Get(volumehelpers.GetPersistentVolumeClaimClass(claim))
	if err != nil {
		return fmt.Errorf("reading the storage class of claim %s: %w", key, err)
	}
	node, selected := claim.Annotations[volumehelpers.AnnSelectedNode]
	if class.Provisioner != Name || (selected && node != p.config.Node) {
		return nil
	}
	if why := Refuse(claim, class); why != "" {
		p.failed(claim, class, why)
		return nil // the claim would have to be another one
	}
	if !selected {
		if class.VolumeBindingMode == nil || *class.VolumeBindingMode == storagev1.VolumeBindingImmediate {
			p.failed(claim, class, "no node was chosen: volumeBindingMode has to be WaitForFirstConsumer")
		}
		return nil
	}
	return p.provision(ctx, claim, class)
}

func (p *Provisioner) failed(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, why string) {
	p.events.Eventf(claim, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %s", class.Name, why)
}

// provision makes the directory, then the volume: a volume always has its directory.
func (p *Provisioner) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	name := VolumeName(claim)
	if _, err := p.volumes.Get(name); err == nil {
		return nil // for the binder to bind
	}
	p.events.Eventf(claim, corev1.EventTypeNormal, "Provisioning", "External provisioner is provisioning volume for claim %q", claim.Namespace+"/"+claim.Name)
	if err := p.disk.Make(name); err != nil {
		p.failed(claim, class, err.Error())
		return p.giveBack(ctx, claim)
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, Volume(claim, class, p.hostname(), p.disk.Path(name)), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // an earlier attempt's
	}
	if err != nil {
		p.failed(claim, class, err.Error())
		return fmt.Errorf("creating volume %s: %w", name, err)
	}
	p.events.Eventf(claim, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", name)
	return nil
}

// giveBack tells the scheduler that the node that it chose can't make the volume; it may choose another one.
func (p *Provisioner) giveBack(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	claim = claim.DeepCopy()
	delete(claim.Annotations, volumehelpers.AnnSelectedNode)
	_, err := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("giving claim %s/%s back to the scheduler: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// grow lets a bound claim of this node have what it asks for: the volume first, then the claim.
func (p *Provisioner) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := p.volumes.Get(claim.Spec.VolumeName)
	if err != nil { // perhaps not in the cache yet
		return fmt.Errorf("reading volume: %w", err)
	}
	if !Ours(volume, p.hostname()) || volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
		return nil
	}
	if size := volume.Spec.Capacity[corev1.ResourceStorage]; size.Cmp(wanted) < 0 {
		volume = volume.DeepCopy()
		volume.Spec.Capacity[corev1.ResourceStorage] = wanted
		if _, err := p.client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("resizing volume %s: %w", volume.Name, err)
		}
	}
	claim = claim.DeepCopy()
	if claim.Status.Capacity == nil {
		claim.Status.Capacity = corev1.ResourceList{}
	}
	claim.Status.Capacity[corev1.ResourceStorage] = wanted
	if _, err := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("resizing claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	p.events.Event(claim, corev1.EventTypeNormal, "VolumeResizeSuccessful", "Resize volume succeeded")
	return nil
}
