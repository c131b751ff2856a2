package attachdetach

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	translation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"

	"skiff/controllers/internal/claims"
)

// plugin begins the names of volumes of CSI in nodes' statuses.
const plugin = "kubernetes.io/csi"

// UniqueName answers the volume's name in nodes' statuses.
func UniqueName(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName(plugin + "/" + driver + "^" + handle)
}

// AttachmentName answers the name of the attachment of the volume to the node.
func AttachmentName(driver, handle, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}

// Identify answers the one of the volumes that the attachment is of, "" if it is of none. Only attachments that bear
// the name that this controller gives are its own.
func Identify(attachment *storagev1.VolumeAttachment, names []corev1.UniqueVolumeName) corev1.UniqueVolumeName {
	for _, name := range names {
		volume, ok := strings.CutPrefix(string(name), plugin+"/")
		driver, handle, valid := strings.Cut(volume, "^")
		if ok && valid && AttachmentName(driver, handle, attachment.Spec.NodeName) == attachment.Name {
			return name
		}
	}
	return ""
}

// Terminated answers whether the pod uses its volumes no more.
func Terminated(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	return pod.DeletionTimestamp != nil && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Terminated == nil && c.State.Waiting == nil
	})
}

// exclusive answers whether the volume may be attached to one node at a time only. Without access modes the driver decides.
func exclusive(volume *corev1.PersistentVolume) bool {
	modes := volume.Spec.AccessModes
	return len(modes) > 0 && !slices.Contains(modes, corev1.ReadWriteMany) && !slices.Contains(modes, corev1.ReadOnlyMany)
}

// resolver finds what pods' volumes are.
type resolver struct {
	claims    listers.PersistentVolumeClaimLister
	volumes   listers.PersistentVolumeLister
	drivers   storagelisters.CSIDriverLister
	translate translation.CSITranslator
}

// wanted answers the volumes that the pods want attached to their node.
func (r *resolver) wanted(pods []*corev1.Pod) map[corev1.UniqueVolumeName]*Volume {
	all := map[corev1.UniqueVolumeName]*Volume{}
	for _, pod := range pods {
		if Terminated(pod) {
			continue
		}
		for i := range pod.Spec.Volumes {
			v := r.resolve(pod, &pod.Spec.Volumes[i])
			if v == nil || !r.attachable(v.Driver) {
				continue
			}
			if all[v.Name] == nil {
				all[v.Name] = v
			}
			if of := all[v.Name]; len(of.Pods) == 0 || of.Pods[len(of.Pods)-1] != pod {
				of.Pods = append(of.Pods, pod)
			}
		}
	}
	return all
}

// attachable answers whether the driver's volumes are attached at all. A driver that did not register wants that.
func (r *resolver) attachable(driver string) bool {
	d, err := r.drivers.Get(driver)
	return err != nil || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
}

// resolve answers nil for a volume that is not of CSI, or not bound yet.
func (r *resolver) resolve(pod *corev1.Pod, volume *corev1.Volume) *Volume {
	name := claims.Name(pod, volume)
	if name == "" {
		return r.inline(pod, volume)
	}
	claim, err := r.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
	if err != nil || claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return nil
	}
	if volume.Ephemeral != nil && ephemeral.VolumeIsForPod(pod, claim) != nil {
		return nil
	}
	return r.persistent(claim.Spec.VolumeName, claim.UID)
}

// inline resolves a volume in a pod of one of the kinds that drivers of CSI have taken over.
func (r *resolver) inline(pod *corev1.Pod, volume *corev1.Volume) *Volume {
	if !r.translate.IsInlineMigratable(volume) {
		return nil
	}
	translated, err := r.translate.TranslateInTreeInlineVolumeToCSI(klog.Background(), volume, pod.Namespace)
	if err != nil {
		return nil
	}
	return of(translated, storagev1.VolumeAttachmentSource{InlineVolumeSpec: &translated.Spec})
}

// persistent answers nil if the volume is not bound to the claim.
func (r *resolver) persistent(name string, claim types.UID) *Volume {
	volume, err := r.volumes.Get(name)
	if err != nil || volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim {
		return nil
	}
	return r.volume(volume)
}

func (r *resolver) volume(volume *corev1.PersistentVolume) *Volume {
	if r.translate.IsPVMigratable(volume) {
		translated, err := r.translate.TranslateInTreePVToCSI(klog.Background(), volume)
		if err != nil {
			return nil
		}
		volume = translated
	}
	name := volume.Name
	return of(volume, storagev1.VolumeAttachmentSource{PersistentVolumeName: &name})
}

func of(volume *corev1.PersistentVolume, source storagev1.VolumeAttachmentSource) *Volume {
	csi := volume.Spec.CSI
	if csi == nil {
		return nil
	}
	return &Volume{
		Name: UniqueName(csi.Driver, csi.VolumeHandle), Title: volume.Name, Driver: csi.Driver, Handle: csi.VolumeHandle,
		Source: source, Exclusive: exclusive(volume),
	}
}

// migrated answers whether the source is a volume of a driver that was part of Kubernetes.
func (r *resolver) migrated(source storagev1.VolumeAttachmentSource) bool {
	if source.PersistentVolumeName == nil {
		return source.InlineVolumeSpec != nil // there is no other use for it
	}
	volume, err := r.volumes.Get(*source.PersistentVolumeName)
	return err == nil && volume.Spec.CSI == nil
}

// attached answers the volume that the attachment's source describes, "" if nothing tells.
func (r *resolver) attached(attachment *storagev1.VolumeAttachment) corev1.UniqueVolumeName {
	source := attachment.Spec.Source
	switch {
	case source.PersistentVolumeName != nil:
		if volume, err := r.volumes.Get(*source.PersistentVolumeName); err == nil {
			if v := r.volume(volume); v != nil {
				return v.Name
			}
		}
	case source.InlineVolumeSpec != nil && source.InlineVolumeSpec.CSI != nil:
		return UniqueName(source.InlineVolumeSpec.CSI.Driver, source.InlineVolumeSpec.CSI.VolumeHandle)
	}
	return ""
}
