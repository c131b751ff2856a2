package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"skiff/controllers/internal/controller"
)

func (r *reconciler) say(of runtime.Object, event *Event) {
	if event != nil {
		r.env.Events.Event(of, event.Type, event.Reason, event.Message)
	}
}

// applyClaim carries the plan out.
func (r *reconciler) applyClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, plan ClaimPlan) error {
	switch {
	case plan.Bind != nil:
		err := r.bind(ctx, plan.Bind, claim)
		r.counters.end(controller.KeyOf(claim), err, r.env.Clock.Now())
		return err
	case plan.Assign != nil:
		claim = claim.DeepCopy()
		claim.Spec.StorageClassName = &plan.Assign.Name
		_, err := r.updateClaim(ctx, claim)
		r.counters.assign(err)
		return err
	}
	claim, err := r.provision(ctx, claim, plan)
	if err != nil {
		return err
	}
	if !plan.Once {
		r.say(claim, plan.Event)
	}
	if plan.Phase == "" || (plan.Once && claim.Status.Phase == plan.Phase) {
		return nil
	}
	claim, err = r.claimPhase(ctx, claim, plan.Phase, nil)
	if err == nil && plan.Once {
		r.say(claim, plan.Event)
	}
	return err
}

// provision asks the plan's provisioner, if there is one, for a volume.
func (r *reconciler) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim, plan ClaimPlan) (*corev1.PersistentVolumeClaim, error) {
	key, now := controller.KeyOf(claim), r.env.Clock.Now()
	by := plan.Provisioner + plan.Refuses
	if by == "" {
		return claim, nil
	}
	r.counters.begin(key, operation{uid: claim.UID, plugin: by, name: provisioning, began: now})
	if plan.Refuses != "" {
		r.counters.end(key, errNoDriver, now)
		return claim, nil
	}
	asked, dirty := Provisioned(claim, plan.Provisioner)
	if !dirty {
		return claim, nil
	}
	written, err := r.updateClaim(ctx, asked)
	if err != nil {
		r.counters.end(key, err, now)
		r.say(claim, warning("ProvisioningFailed", "Error saving claim: %v", err))
		return nil, err
	}
	return written, nil
}

// bind ties both to each other, as far as they are not.
func (r *reconciler) bind(ctx context.Context, volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	tied, dirty, err := volumehelpers.GetBindVolumeToClaim(volume, claim)
	if err != nil {
		return fmt.Errorf("binding volume %s: %w", volume.Name, err)
	}
	if dirty {
		if volume, err = r.updateVolume(ctx, tied); err != nil {
			return err
		}
	}
	if volume, err = r.volumePhase(ctx, volume, corev1.VolumeBound, "", nil); err != nil {
		return err
	}
	if bound, dirty := BoundClaim(claim, volume); dirty {
		if claim, err = r.updateClaim(ctx, bound); err != nil {
			return err
		}
	}
	_, err = r.claimPhase(ctx, claim, corev1.ClaimBound, volume)
	return err
}

func (r *reconciler) applyVolume(ctx context.Context, volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim, plan VolumePlan) (controller.Result, error) {
	r.say(volume, plan.Mismatch)
	if claim != nil {
		r.say(claim, plan.OfClaim)
	}
	if plan.Delete {
		by, err := r.deleter(volume)
		if err != nil {
			return controller.Result{}, err
		}
		r.counters.begin(controller.KeyOf(volume), operation{uid: volume.UID, plugin: by, name: deleting, began: r.env.Clock.Now()})
	}
	var err error
	if plan.Unbind {
		if volume, err = r.updateVolume(ctx, Unbound(volume)); err != nil {
			return controller.Result{}, err
		}
	}
	if plan.Phase != "" {
		if volume, err = r.volumePhase(ctx, volume, plan.Phase, plan.Message, plan.Event); err != nil {
			return controller.Result{}, err
		}
	}
	if !plan.Recycle {
		delete(r.recyclers, volume.Name)
		return controller.Result{}, nil
	}
	return controller.Result{RequeueAfter: resync}, r.recycle(ctx, volume)
}

// deleter names who is to delete the volume: the provisioner of its class. What the volume says of that is not believed,
// for it could be anything.
func (r *reconciler) deleter(volume *corev1.PersistentVolume) (string, error) {
	class, err := r.class(volumehelpers.GetPersistentVolumeClass(volume))
	if err != nil || class == nil || undeletable(volume) != nil {
		return notAvailable, err
	}
	name, _ := successor(class.Provisioner)
	return name, nil
}

// volumePhase writes the phase if it is another one, and says why.
func (r *reconciler) volumePhase(
	ctx context.Context, volume *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string, event *Event,
) (*corev1.PersistentVolume, error) {
	if volume.Status.Phase == phase {
		return volume, nil
	}
	changed := volume.DeepCopy()
	changed.Status.Phase, changed.Status.Message = phase, message
	written, err := r.env.Client.CoreV1().PersistentVolumes().UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating the status of volume %s: %w", volume.Name, err)
	}
	r.newestVolumes.wrote(written)
	r.say(written, event)
	return written, nil
}

func (r *reconciler) updateVolume(ctx context.Context, volume *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	written, err := r.env.Client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating volume %s: %w", volume.Name, err)
	}
	r.newestVolumes.wrote(written)
	return written, nil
}

func (r *reconciler) updateClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	written, err := r.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	r.newestClaims.wrote(written)
	return written, nil
}

// claimPhase writes the claim's status if it differs.
func (r *reconciler) claimPhase(
	ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume *corev1.PersistentVolume,
) (*corev1.PersistentVolumeClaim, error) {
	changed, dirty, err := ClaimStatus(claim, phase, volume)
	if err != nil || !dirty {
		return claim, err
	}
	written, err := r.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating the status of claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	r.newestClaims.wrote(written)
	return written, nil
}
