package volumes

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/record"
	translation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"

	"skiff/kubelet/csi"
)

const csiName = "kubernetes.io~csi"

// csiAttention is how often a mounted volume is looked after: published again if its driver wants that, grown if its claim
// was.
const csiAttention = time.Minute

// csiVolumes is the kind whose content a driver of the Container Storage Interface provides: for one pod (inline), or as a
// persistent volume behind a claim, which hands those over.
//
//	in use and attached ──► staged on the node ──► published to the pod ──► owned by its group ──► grown
//
// What is under way is on disk (csidata.go), so that a later process finds it again.
type csiVolumes struct {
	layout   csiLayout
	drivers  *csi.Drivers
	objects  storagelisters.CSIDriverLister
	attached *attachments
	locks    *locks
	tokens   projections
	events   record.EventRecorder // nil to tell nobody

	translate translation.CSITranslator

	mu sync.Mutex
	// staged holds the volumes that this process has staged.
	staged map[corev1.UniqueVolumeName]bool
}

func (*csiVolumes) dir() string { return csiName }

// owns also claims the kinds that were part of Kubernetes once.
func (c *csiVolumes) owns(spec *corev1.Volume) bool {
	return spec.CSI != nil || c.translate.IsInlineMigratable(spec)
}

func (c *csiVolumes) setUp(ctx context.Context, v *volume) (string, time.Time, error) {
	if v.spec.CSI == nil {
		pv, err := c.translate.TranslateInTreeInlineVolumeToCSI(klog.FromContext(ctx), v.spec, v.pod.Namespace)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("failed to translate in-tree volume to CSI: %w", err)
		}
		return c.provide(ctx, v, &csiVolume{pod: v.pod, name: pv.Name, driver: pv.Spec.CSI.Driver, handle: pv.Spec.CSI.VolumeHandle, pv: pv})
	}
	source := v.spec.CSI
	return c.provide(ctx, v, &csiVolume{
		pod: v.pod, name: v.spec.Name, driver: source.Driver, handle: inlineHandle(v.pod.UID, v.spec.Name), inline: source,
		readOnly: source.ReadOnly != nil && *source.ReadOnly,
	})
}

// csiVolume is one volume of a driver as one pod uses it.
type csiVolume struct {
	pod *corev1.Pod
	// name is the persistent volume's, or the inline volume's in its pod.
	name, driver, handle string
	readOnly             bool

	inline *corev1.CSIVolumeSource  // of an inline volume
	pv     *corev1.PersistentVolume // of the others, with their claim
	claim  *corev1.PersistentVolumeClaim
}

// inlineHandle is what the driver knows a pod's own volume by.
func inlineHandle(uid types.UID, name string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(uid)+name)))
}

// unique is the volume's name in nodes' statuses.
func (v *csiVolume) unique() corev1.UniqueVolumeName { return uniqueName(v.driver, v.handle) }

func uniqueName(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + driver + "^" + handle)
}

// attachmentName is the name of the attachment of a volume to a node.
func attachmentName(driver, handle, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}

func (v *csiVolume) mode() storagev1.VolumeLifecycleMode {
	if v.inline != nil {
		return storagev1.VolumeLifecycleEphemeral
	}
	return storagev1.VolumeLifecyclePersistent
}

func (v *csiVolume) block() bool {
	return v.pv != nil && v.pv.Spec.VolumeMode != nil && *v.pv.Spec.VolumeMode == corev1.PersistentVolumeBlock
}

func (v *csiVolume) fsType() string {
	switch {
	case v.pv != nil:
		return v.pv.Spec.CSI.FSType
	case v.inline.FSType != nil:
		return *v.inline.FSType
	}
	return ""
}

// attributes are what the driver is told about the volume, and with podInfo about the pod.
func (v *csiVolume) attributes(podInfo bool) map[string]string {
	from := map[string]string{}
	if v.pv != nil {
		from = v.pv.Spec.CSI.VolumeAttributes
	} else if v.inline.VolumeAttributes != nil {
		from = v.inline.VolumeAttributes
	}
	out := make(map[string]string, len(from))
	for key, value := range from {
		out[key] = value
	}
	if podInfo {
		out["csi.storage.k8s.io/pod.name"] = v.pod.Name
		out["csi.storage.k8s.io/pod.namespace"] = v.pod.Namespace
		out["csi.storage.k8s.io/pod.uid"] = string(v.pod.UID)
		out["csi.storage.k8s.io/serviceAccount.name"] = v.pod.Spec.ServiceAccountName
		out["csi.storage.k8s.io/ephemeral"] = strconv.FormatBool(v.inline != nil)
	}
	return out
}

// use is how the driver is to give the volume. group is for drivers that own files themselves.
func (v *csiVolume) use(group *int64) csi.Use {
	out := csi.Use{Block: v.block(), FSType: v.fsType(), Group: group}
	if v.pv != nil {
		out.Modes, out.Options = v.pv.Spec.AccessModes, v.pv.Spec.MountOptions
	}
	return out
}

// secrets are the references to what the driver may know to stage, publish and grow the volume.
type secretUse func(*corev1.CSIPersistentVolumeSource) *corev1.SecretReference

func stageSecret(s *corev1.CSIPersistentVolumeSource) *corev1.SecretReference {
	return s.NodeStageSecretRef
}

func expandSecret(s *corev1.CSIPersistentVolumeSource) *corev1.SecretReference {
	return s.NodeExpandSecretRef
}

// publishSecret is the one to publish with; an inline volume's is in its pod's namespace.
func (v *csiVolume) publishSecret() *corev1.SecretReference {
	if v.pv != nil {
		return v.pv.Spec.CSI.NodePublishSecretRef
	}
	if v.inline.NodePublishSecretRef == nil {
		return nil
	}
	return &corev1.SecretReference{Namespace: v.pod.Namespace, Name: v.inline.NodePublishSecretRef.Name}
}

// behaviour is what a CSIDriver object says of a driver.
type behaviour struct {
	known                      bool
	attach, podInfo, republish bool
	tokensAreSecret            bool
	modes                      []storagev1.VolumeLifecycleMode
	groups                     storagev1.FSGroupPolicy
	tokens                     []storagev1.TokenRequest
}

// behaviourOf reads the object; a driver without one is attached and serves persistent volumes.
func behaviourOf(driver *storagev1.CSIDriver) behaviour {
	out := behaviour{attach: true, groups: storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy}
	if driver == nil {
		return out
	}
	is := func(flag *bool) bool { return flag != nil && *flag }
	out.known = true
	out.attach = driver.Spec.AttachRequired == nil || *driver.Spec.AttachRequired
	out.podInfo, out.republish = is(driver.Spec.PodInfoOnMount), is(driver.Spec.RequiresRepublish)
	out.tokensAreSecret = is(driver.Spec.ServiceAccountTokenInSecrets)
	out.modes, out.tokens = driver.Spec.VolumeLifecycleModes, driver.Spec.TokenRequests
	if driver.Spec.FSGroupPolicy != nil {
		out.groups = *driver.Spec.FSGroupPolicy
	}
	return out
}

func (c *csiVolumes) behaviour(driver string) (behaviour, error) {
	found, err := c.objects.Get(driver)
	if apierrors.IsNotFound(err) {
		return behaviourOf(nil), nil
	}
	if err != nil {
		return behaviour{}, fmt.Errorf("reading CSIDriver %s: %w", driver, err)
	}
	return behaviourOf(found), nil
}

// serves says why the driver does not provide the volume; nil if it does.
func (b behaviour) serves(v *csiVolume) error {
	mode := v.mode()
	switch {
	case !b.known && mode == storagev1.VolumeLifecyclePersistent:
		return nil
	case !b.known:
		return fmt.Errorf("volume mode %q not supported by driver %s (no CSIDriver object)", mode, v.driver)
	case slices.Contains(b.modes, mode) || len(b.modes) == 0 && mode == storagev1.VolumeLifecyclePersistent:
		return nil
	}
	return fmt.Errorf("volume mode %q not supported by driver %s (only supports %q)", mode, v.driver, b.modes)
}

// ownedByGroup says whether the node gives the volume's files to the pod's group.
func (b behaviour) ownedByGroup(v *csiVolume) bool {
	switch {
	case fsGroupOf(v.pod) == nil || b.groups == storagev1.NoneFSGroupPolicy || v.readOnly || v.block():
		return false
	case b.groups == storagev1.FileFSGroupPolicy:
		return true
	case v.fsType() == "":
		return false
	case v.pv == nil:
		return true
	}
	return slices.Contains(v.pv.Spec.AccessModes, corev1.ReadWriteOnce) || slices.Contains(v.pv.Spec.AccessModes, corev1.ReadWriteOncePod)
}

// errCSI prefixes what goes wrong with who says so, as users know it.
func errCSI(format string, args ...any) error {
	return fmt.Errorf("kubernetes.io/csi: "+format, args...)
}

// errNoAttachment is what a volume without its attachment fails with.
var errNoAttachment = errors.New("no existing VolumeAttachment found")
