package volumes

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/klog/v2"

	"skiff/kubelet/csi"
)

// notRequired is the annotation of a claim whose volume a driver grows without the node.
const notRequired = "volume.kubernetes.io/node-expansion-not-required"

// growth is what a node does about a volume's size.
type growth int

const (
	noGrowth growth = iota
	// grows grows the volume and says so in its claim.
	grows
	// growsHere grows it on this node only: the claim was dealt with by another.
	growsHere
)

// growthOf decides from the claim. size is that of the volume when it was last known to be grown on this node.
func growthOf(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, size int64) growth {
	wanted := pv.Spec.Capacity.Storage()
	status := claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage]
	switch {
	case status == corev1.PersistentVolumeClaimNodeResizePending || status == corev1.PersistentVolumeClaimNodeResizeInProgress:
		return grows
	case status != "" || claim.Status.Capacity.Storage().Cmp(*wanted) < 0 || wanted.Value() <= size:
		return noGrowth
	case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteMany) && !metav1.HasAnnotation(claim.ObjectMeta, notRequired):
		return growsHere
	}
	return noGrowth
}

// grow grows a volume that its claim says has grown, and says whether the driver does such things. That a volume can't grow
// while it is used is no failure of its use.
func (c *csiVolumes) grow(ctx context.Context, task *csiTask, state *csiState) (able bool, err error) {
	if task.pv == nil || task.claim == nil {
		return false, nil
	}
	able, err = task.driver.Can(ctx, csi.Expands)
	if err != nil || !able {
		return false, err
	}
	todo := growthOf(task.claim, task.pv, state.size)
	if todo == noGrowth {
		return true, nil
	}
	claim := task.claim
	if todo == grows {
		claim, err = c.mark(ctx, claim, func(next *corev1.PersistentVolumeClaim) {
			setResize(next, corev1.PersistentVolumeClaimNodeResizeInProgress)
		})
		if err != nil {
			return true, err
		}
	}
	if err := c.expand(ctx, task); err != nil {
		return true, c.growthFailed(ctx, task, claim, err)
	}
	size := *task.pv.Spec.Capacity.Storage()
	state.size = size.Value()
	text := fmt.Sprintf("MountVolume.NodeExpandVolume succeeded for volume %q %s", task.name, task.pod.Spec.NodeName)
	if c.events != nil {
		c.events.Event(task.pod, corev1.EventTypeNormal, "FileSystemResizeSuccessful", text)
		c.events.Event(claim, corev1.EventTypeNormal, "FileSystemResizeSuccessful", text)
	}
	if todo == grows {
		_, err = c.mark(ctx, claim, func(next *corev1.PersistentVolumeClaim) { setGrown(next, size) })
	}
	return true, err
}

// expand asks the driver to grow the volume.
func (c *csiVolumes) expand(ctx context.Context, task *csiTask) error {
	secrets, err := c.secret(ctx, task.pv.Spec.CSI.NodeExpandSecretRef)
	if err != nil {
		return fmt.Errorf("expander.NodeExpand failed to get NodeExpandSecretRef: %w", err)
	}
	capability, err := task.driver.Capability(ctx, task.use(nil))
	if err != nil {
		return err
	}
	request := &csi.Expand{
		VolumeId: task.handle, VolumePath: c.path(task.csiVolume), VolumeCapability: capability, Secrets: secrets,
		CapacityRange: &csi.CapacityRange{RequiredBytes: task.pv.Spec.Capacity.Storage().Value()},
	}
	if task.block() {
		request.VolumePath = c.layout.devicePublished(task.name, task.pod.UID)
	}
	switch {
	case task.stages && task.block():
		request.StagingTargetPath = c.layout.deviceStaging(task.name)
	case task.stages:
		request.StagingTargetPath = filepath.Join(c.layout.staged(task.csiVolume.driver, task.handle), "globalmount")
	}
	return task.driver.Expand(ctx, request)
}

// growthFailed tells users, and in the claim those that may recover. What can't be while the volume is used is let be.
func (c *csiVolumes) growthFailed(ctx context.Context, task *csiTask, claim *corev1.PersistentVolumeClaim, failure error) error {
	failure = fmt.Errorf("Expander.NodeExpand failed to expand the volume : %w", failure) //nolint:staticcheck,revive // upstream's text
	if csi.Final(failure) || csi.Infeasible(failure) {
		_, err := c.mark(ctx, claim, func(next *corev1.PersistentVolumeClaim) {
			if csi.Infeasible(failure) {
				setResize(next, corev1.PersistentVolumeClaimNodeResizeInfeasible)
			}
			setResizeError(next, failure)
		})
		if err != nil {
			klog.FromContext(ctx).Error(err, "Could not note in a claim that its volume did not grow", "claim", klog.KObj(claim))
		}
	}
	if c.events != nil {
		c.events.Event(task.pod, corev1.EventTypeWarning, "VolumeResizeFailed",
			fmt.Sprintf("NodeExpandVolume failed for volume %q : %v", task.name, failure))
	}
	if csi.InUse(failure) {
		return nil
	}
	return failure
}

func setResize(claim *corev1.PersistentVolumeClaim, status corev1.ClaimResourceStatus) {
	if claim.Status.AllocatedResourceStatuses == nil {
		claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{}
	}
	claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] = status
}

func setResizeError(claim *corev1.PersistentVolumeClaim, failure error) {
	text := fmt.Sprintf("failed to expand pvc with %v", failure)
	at := slices.IndexFunc(claim.Status.Conditions, func(condition corev1.PersistentVolumeClaimCondition) bool {
		return condition.Type == corev1.PersistentVolumeClaimNodeResizeError
	})
	if at >= 0 {
		claim.Status.Conditions[at].Status, claim.Status.Conditions[at].Message = corev1.ConditionTrue, text
		return
	}
	claim.Status.Conditions = append(claim.Status.Conditions, corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimNodeResizeError, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), Message: text,
	})
}

// setGrown ends a resize: the claim has the size, and nothing is said of resizing any more.
func setGrown(claim *corev1.PersistentVolumeClaim, size resource.Quantity) {
	if claim.Status.Capacity == nil {
		claim.Status.Capacity = corev1.ResourceList{}
	}
	claim.Status.Capacity[corev1.ResourceStorage] = size
	delete(claim.Status.AllocatedResourceStatuses, corev1.ResourceStorage)
	claim.Status.Conditions = slices.DeleteFunc(claim.Status.Conditions, func(condition corev1.PersistentVolumeClaimCondition) bool {
		switch condition.Type {
		case corev1.PersistentVolumeClaimFileSystemResizePending, corev1.PersistentVolumeClaimResizing,
			corev1.PersistentVolumeClaimControllerResizeError, corev1.PersistentVolumeClaimNodeResizeError:
			return true
		}
		return false
	})
}

// mark changes a claim's status, unless the claim changed since it was read.
func (c *csiVolumes) mark(ctx context.Context, claim *corev1.PersistentVolumeClaim, edit func(*corev1.PersistentVolumeClaim)) (*corev1.PersistentVolumeClaim, error) {
	next := claim.DeepCopy()
	edit(next)
	before, err := json.Marshal(claim)
	if err != nil {
		return claim, fmt.Errorf("encoding a claim: %w", err)
	}
	after, err := json.Marshal(next)
	if err != nil {
		return claim, fmt.Errorf("encoding a claim: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.PersistentVolumeClaim{})
	if err != nil {
		return claim, fmt.Errorf("comparing claims: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(patch, &fields); err != nil {
		return claim, fmt.Errorf("decoding a patch: %w", err)
	}
	if len(fields) == 0 {
		return claim, nil
	}
	fields["metadata"] = map[string]any{"resourceVersion": claim.ResourceVersion, "uid": claim.UID}
	if patch, err = json.Marshal(fields); err != nil {
		return claim, fmt.Errorf("encoding a patch: %w", err)
	}
	updated, err := c.tokens.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(
		ctx, claim.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return claim, fmt.Errorf("failed to patch PVC %q: %w", claim.Name, err)
	}
	return updated, nil
}
