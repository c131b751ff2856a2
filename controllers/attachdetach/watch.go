package attachdetach

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	translation "k8s.io/csi-translation-lib"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
)

func compare(a, b string) int { return strings.Compare(a, b) }

func nodeOf(o any) ([]string, error) {
	if a, ok := o.(*storagev1.VolumeAttachment); ok {
		return []string{a.Spec.NodeName}, nil
	}
	return nil, nil
}

func sourceOf(o any) ([]string, error) {
	if a, ok := o.(*storagev1.VolumeAttachment); ok {
		return []string{sourceKey(a.Spec.Source)}, nil
	}
	return nil, nil
}

func sourceKey(source storagev1.VolumeAttachmentSource) string {
	switch {
	case source.PersistentVolumeName != nil:
		return "volume/" + *source.PersistentVolumeName
	case source.InlineVolumeSpec != nil && source.InlineVolumeSpec.CSI != nil:
		return string(UniqueName(source.InlineVolumeSpec.CSI.Driver, source.InlineVolumeSpec.CSI.VolumeHandle))
	}
	return ""
}

func nodeKey(name string) controller.Key { return controller.Key{Name: name} }

// ofPod asks for the node of a pod that came, went or ended.
func ofPod(before, after metav1.Object) []controller.Key {
	old, pod := place(before), place(after)
	if old == pod {
		return nil
	}
	var keys []controller.Key
	for _, p := range []position{old, pod} {
		if p.node != "" {
			keys = append(keys, nodeKey(p.node))
		}
	}
	return keys
}

// position is what of a pod decides where its volumes are wanted.
type position struct {
	uid, node string
	ended     bool
}

func place(o metav1.Object) position {
	pod := controller.PodOf(o)
	if pod == nil || pod.Spec.NodeName == "" || !slices.ContainsFunc(pod.Spec.Volumes, attached) {
		return position{}
	}
	return position{uid: string(pod.UID), node: pod.Spec.NodeName, ended: Terminated(pod)}
}

// attached answers whether the volume is of a kind that may have to be attached.
func attached(v corev1.Volume) bool {
	return v.PersistentVolumeClaim != nil || v.Ephemeral != nil || translation.New().IsInlineMigratable(&v)
}

// ofNode asks for a node when something changed that this controller looks at; heartbeats do not.
func (r *reconciler) ofNode(before, after metav1.Object) []controller.Key {
	old, _ := before.(*corev1.Node)
	node, _ := after.(*corev1.Node)
	if old != nil && node != nil && sameNode(old, node) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if node == nil {
		m := r.of(old.Name)
		m.lost, m.gone = old.Status.VolumesInUse, true
		return []controller.Key{nodeKey(old.Name)}
	}
	if m := r.memory[node.Name]; m != nil {
		m.lost, m.gone = nil, false
	}
	return []controller.Key{nodeKey(node.Name)}
}

func sameNode(a, b *corev1.Node) bool {
	return a.UID == b.UID && managed(a) == managed(b) && healthy(a) == healthy(b) &&
		slices.Equal(a.Status.VolumesInUse, b.Status.VolumesInUse) && slices.Equal(a.Status.VolumesAttached, b.Status.VolumesAttached) &&
		slices.EqualFunc(a.Spec.Taints, b.Spec.Taints, func(x, y corev1.Taint) bool { return x.MatchTaint(&y) })
}

func (r *reconciler) ofClaim(_, after metav1.Object) []controller.Key {
	claim, ok := after.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return nil
	}
	return r.users(controller.KeyOf(claim))
}

func (r *reconciler) ofVolume(_, after metav1.Object) []controller.Key {
	volume, ok := after.(*corev1.PersistentVolume)
	if !ok || volume.Spec.ClaimRef == nil {
		return nil
	}
	return r.users(controller.Key{Namespace: volume.Spec.ClaimRef.Namespace, Name: volume.Spec.ClaimRef.Name})
}

// users answers the nodes of the pods that use the claim.
func (r *reconciler) users(claim controller.Key) []controller.Key {
	pods, err := claims.Pods(r.pods, claim)
	if err != nil {
		return nil
	}
	var keys []controller.Key
	for _, pod := range pods {
		if p := place(pod); p.node != "" && !p.ended {
			keys = append(keys, nodeKey(p.node))
		}
	}
	return keys
}

// ofAttachment asks for the attachment's node and, when it is gone or can't be detached, for those that wait for the
// volume.
func (r *reconciler) ofAttachment(before, after metav1.Object) []controller.Key {
	a, there := after.(*storagev1.VolumeAttachment)
	if !there {
		a, _ = before.(*storagev1.VolumeAttachment)
	}
	keys := []controller.Key{nodeKey(a.Spec.NodeName)}
	if there && a.Status.DetachError == nil {
		return keys
	}
	source := sourceKey(a.Spec.Source)
	r.mu.Lock()
	defer r.mu.Unlock()
	for node, m := range r.memory {
		for _, waits := range m.blocked {
			if waits.source == source {
				keys = append(keys, nodeKey(node))
			}
		}
	}
	return keys
}

// ofDriver asks for all nodes when a driver begins or ceases to want its volumes attached.
func (r *reconciler) ofDriver(before, after metav1.Object) []controller.Key {
	old, _ := before.(*storagev1.CSIDriver)
	driver, _ := after.(*storagev1.CSIDriver)
	if attaches(old) == attaches(driver) {
		return nil
	}
	nodes, err := r.nodes.List(labels.Everything())
	if err != nil {
		return nil
	}
	keys := make([]controller.Key, 0, len(nodes))
	for _, node := range nodes {
		keys = append(keys, nodeKey(node.Name))
	}
	return keys
}

func attaches(driver *storagev1.CSIDriver) bool {
	return driver == nil || driver.Spec.AttachRequired == nil || *driver.Spec.AttachRequired
}
