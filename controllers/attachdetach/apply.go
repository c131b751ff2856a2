package attachdetach

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	nodeutil "k8s.io/component-helpers/node/util"

	"skiff/controllers/internal/controller"
)

// all is the key that creations of attachments are noted for: whether an exclusive volume is free can't be told before
// the cache has seen them.
var all = controller.Key{Namespace: "all"}

// apply answers whether something waits for the cache.
func (r *reconciler) apply(ctx context.Context, key controller.Key, node *corev1.Node, plan Actions) (bool, error) {
	live, err := r.report(ctx, key, node, plan.Report)
	if err != nil {
		return false, err
	}
	for _, v := range plan.Attached {
		r.tell(v, corev1.EventTypeNormal, attachedReason, func(*corev1.Pod) string { return message("AttachVolume.Attach succeeded", v, "") })
	}
	for _, d := range plan.Detach {
		if err := r.detach(ctx, key, live, d); err != nil {
			return false, err
		}
	}
	waits := false
	for _, v := range plan.Attach {
		if v.Exclusive && !r.log.Seen(all) {
			waits = true
			continue
		}
		if err := r.attach(ctx, key, v); err != nil {
			return false, err
		}
	}
	return waits, nil
}

// report writes the list of attached volumes to the node's status and answers the node as it is now, nil if nothing
// was written.
func (r *reconciler) report(ctx context.Context, key controller.Key, node *corev1.Node, volumes []corev1.AttachedVolume) (*corev1.Node, error) {
	if node == nil || slices.Equal(node.Status.VolumesAttached, volumes) {
		return nil, nil
	}
	changed := node.DeepCopy()
	changed.Status.VolumesAttached = volumes
	live, _, err := nodeutil.PatchNodeStatus(r.env.Client.CoreV1(), types.NodeName(node.Name), node, changed)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("updating status of the node: %w", err)
	}
	r.log.Wrote(key, r.nodeIndex, live)
	return live, nil
}

// detach deletes the attachment unless the node took the volume into use before it could know that it is no longer
// reported. live is the node after that, nil if it was not reported before.
func (r *reconciler) detach(ctx context.Context, key controller.Key, live *corev1.Node, d Detach) error {
	if d.Verify {
		var err error
		if live == nil {
			live, err = r.env.Client.CoreV1().Nodes().Get(ctx, key.Name, metav1.GetOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("asking for the node: %w", err)
		}
		if err == nil && slices.Contains(live.Status.VolumesInUse, d.Name) {
			return nil // the node's event brings it back
		}
	}
	err := r.env.Client.StorageV1().VolumeAttachments().Delete(ctx, d.Attachment.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(d.Attachment.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting attachment %s: %w", d.Attachment.Name, err)
	}
	r.log.Deleted(key, r.attachments, d.Attachment)
	if !apierrors.IsConflict(err) { // there is another one by now
		r.operations.begin(key.Name, d.Attachment.Name, r.operation(detaching, d.Attachment))
	}
	if d.Forced != "" {
		forced.WithLabelValues(d.Forced).Inc()
	}
	return nil
}

func (r *reconciler) attach(ctx context.Context, key controller.Key, v *Volume) error {
	wanted := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: AttachmentName(v.Driver, v.Handle, key.Name)},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: v.Driver, NodeName: key.Name, Source: v.Source},
	}
	asked := r.operation(attaching, wanted)
	created, err := r.env.Client.StorageV1().VolumeAttachments().Create(ctx, wanted, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // the cache has not seen it, or it is of another controller: its event brings the node back
	}
	if err != nil {
		r.operations.count(asked, resultFailure, r.env.Clock.Now())
		r.tell(v, corev1.EventTypeWarning, failedReason, func(*corev1.Pod) string {
			return message("AttachVolume.Attach failed", v, fmt.Sprintf(": %s: attacher.Attach failed: %v", plugin, err))
		})
		return fmt.Errorf("creating attachment of %s: %w", v.Name, err)
	}
	r.log.Wrote(key, r.attachments, created)
	r.log.Wrote(all, r.attachments, created)
	asked.uid = created.UID
	r.operations.begin(key.Name, created.Name, asked)
	return nil
}

// operation is one that begins.
func (r *reconciler) operation(name string, a *storagev1.VolumeAttachment) operation {
	return operation{name: name, driver: a.Spec.Attacher, migrated: r.resolver.migrated(a.Spec.Source), uid: a.UID, began: r.env.Clock.Now()}
}

func (r *reconciler) tell(v *Volume, kind, reason string, text func(*corev1.Pod) string) {
	for _, pod := range v.Pods {
		r.env.Events.Event(pod, kind, reason, text(pod))
	}
}

// remember keeps what the plan says of volumes that wait or failed, and tells users what they were not told yet.
func (r *reconciler) remember(node string, plan Actions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.of(node)
	m.since = plan.Since
	told, blocked := m.told, m.blocked
	m.told, m.blocked = map[corev1.UniqueVolumeName]time.Time{}, map[corev1.UniqueVolumeName]blockedVolume{}
	for _, f := range plan.Failed {
		if !told[f.Volume.Name].Equal(f.At) {
			r.tell(f.Volume, corev1.EventTypeWarning, failedReason, func(*corev1.Pod) string {
				return message("AttachVolume.Attach failed", f.Volume, ": "+f.Message)
			})
		}
		m.told[f.Volume.Name] = f.At
	}
	for _, b := range plan.Blocked {
		known := blocked[b.Volume.Name].told
		leaving := !slices.ContainsFunc(b.Nodes, func(e Elsewhere) bool { return !e.Leaving })
		if !known && !leaving {
			r.tell(b.Volume, corev1.EventTypeWarning, failedReason, func(pod *corev1.Pod) string { return waiting(b, pod) })
		}
		m.blocked[b.Volume.Name] = blockedVolume{source: sourceKey(b.Volume.Source), told: known || !leaving}
	}
}
