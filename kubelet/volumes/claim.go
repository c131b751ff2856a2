package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/storage/ephemeral"
	translation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
)

const localName = "kubernetes.io~local-volume"

// claim is the kind whose content outlives pods: a persistent volume behind a claim, be it named by the pod or made for
// it (ephemeral).
type claim struct {
	client    kubernetes.Interface
	csi       *csiVolumes
	translate translation.CSITranslator
}

func (claim) dir() string { return localName }

func (claim) owns(spec *corev1.Volume) bool {
	return spec.PersistentVolumeClaim != nil || spec.Ephemeral != nil
}

func (c claim) setUp(ctx context.Context, v *volume) (string, time.Time, error) {
	bound, err := c.boundClaim(ctx, v)
	if err != nil {
		return "", time.Time{}, err
	}
	pv, err := c.volumeOf(ctx, bound)
	if err != nil {
		return "", time.Time{}, err
	}
	block := pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock
	if err := checkUse(v.pod, v.spec.Name, block); err != nil {
		return "", time.Time{}, err
	}
	// What was part of Kubernetes once is a driver's business now.
	if c.translate.IsPVMigratable(pv) {
		if pv, err = c.translate.TranslateInTreePVToCSI(klog.FromContext(ctx), pv); err != nil {
			return "", time.Time{}, fmt.Errorf("failed to translate in-tree volume to CSI: %w", err)
		}
	}
	readOnly := v.spec.PersistentVolumeClaim != nil && v.spec.PersistentVolumeClaim.ReadOnly
	place := func(kind string) string { return filepath.Join(filepath.Dir(filepath.Dir(v.dir)), kind, pv.Name) }
	switch {
	case pv.Spec.CSI != nil:
		return c.csi.provide(ctx, v, &csiVolume{
			pod: v.pod, name: pv.Name, driver: pv.Spec.CSI.Driver, handle: pv.Spec.CSI.VolumeHandle, readOnly: readOnly, pv: pv, claim: bound,
		})
	case pv.Spec.Local != nil && block:
		return pv.Spec.Local.Path, time.Time{}, checkDevice(pv.Spec.Local.Path)
	case block:
		return "", time.Time{}, fmt.Errorf("persistent volume %q is of a type that this node cannot provide as a device", pv.Name)
	case pv.Spec.HostPath != nil:
		return pv.Spec.HostPath.Path, time.Time{}, checkHostPath(pv.Spec.HostPath)
	case pv.Spec.Local != nil:
		return place(localName), time.Time{}, mountLocal(v.pod, pv.Spec.Local.Path, place(localName), readOnly)
	case pv.Spec.NFS != nil:
		return place(nfsName), time.Time{}, mountNFS(ctx, pv.Spec.NFS, pv.Spec.MountOptions, place(nfsName), readOnly || pv.Spec.NFS.ReadOnly)
	}
	return "", time.Time{}, fmt.Errorf("persistent volume %q is of a type this node cannot mount", pv.Name)
}

// checkUse says why containers can't have the volume in the way that they name it: a device is no directory.
func checkUse(pod *corev1.Pod, volume string, block bool) error {
	mounted, device := false, false
	look := func(mounts []corev1.VolumeMount, devices []corev1.VolumeDevice) {
		for i := range mounts {
			mounted = mounted || mounts[i].Name == volume
		}
		for i := range devices {
			device = device || devices[i].Name == volume
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			look(list[i].VolumeMounts, list[i].VolumeDevices)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		look(pod.Spec.EphemeralContainers[i].VolumeMounts, pod.Spec.EphemeralContainers[i].VolumeDevices)
	}
	switch {
	case block && mounted:
		return fmt.Errorf("volume %s has volumeMode Block, but is specified in volumeMounts", volume)
	case !block && device:
		return fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices", volume)
	}
	return nil
}

// checkDevice checks that a local volume to be given as a device is one.
func checkDevice(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("path %q does not exist", path)
	}
	if err != nil {
		return fmt.Errorf("examining a local volume: %w", err)
	}
	if info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return fmt.Errorf("local volume %q is not a block device", path)
	}
	return nil
}

// boundClaim answers the claim of the volume, which has to be bound and, if made for a pod, made for this one.
func (c claim) boundClaim(ctx context.Context, v *volume) (*corev1.PersistentVolumeClaim, error) {
	name := ephemeral.VolumeClaimName(v.pod, v.spec)
	if v.spec.PersistentVolumeClaim != nil {
		name = v.spec.PersistentVolumeClaim.ClaimName
	}
	found, err := admitted(ctx, func() (*corev1.PersistentVolumeClaim, error) {
		return c.client.CoreV1().PersistentVolumeClaims(v.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, fmt.Errorf("error processing PVC %s/%s: failed to fetch PVC from API server: %w", v.pod.Namespace, name, err)
	}
	if v.spec.Ephemeral != nil {
		if err := ephemeral.VolumeIsForPod(v.pod, found); err != nil {
			return nil, fmt.Errorf("error processing PVC %s/%s: %w", v.pod.Namespace, name, err)
		}
	}
	if found.DeletionTimestamp != nil && found.Status.Phase != corev1.ClaimBound {
		return nil, fmt.Errorf("error processing PVC %s/%s: PVC is being deleted", v.pod.Namespace, name)
	}
	if found.Status.Phase != corev1.ClaimBound || found.Spec.VolumeName == "" {
		return nil, fmt.Errorf("error processing PVC %s/%s: PVC is not bound", v.pod.Namespace, name)
	}
	return found, nil
}

// volumeOf answers the volume a claim is bound to, which has to know of it.
func (c claim) volumeOf(ctx context.Context, bound *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	pv, err := admitted(ctx, func() (*corev1.PersistentVolume, error) {
		return c.client.CoreV1().PersistentVolumes().Get(ctx, bound.Spec.VolumeName, metav1.GetOptions{})
	})
	if err != nil {
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", bound.Spec.VolumeName, err)
	}
	if pv.Spec.ClaimRef == nil {
		return nil, fmt.Errorf("found PV object %s with nil pv.Spec.ClaimRef indicating it is not yet bound to any PVC", pv.Name)
	}
	if pv.Spec.ClaimRef.UID != bound.UID {
		return nil, fmt.Errorf("found PV object %s with unexpected pv.Spec.ClaimRef.UID (%s): expected %s", pv.Name, pv.Spec.ClaimRef.UID, bound.UID)
	}
	return pv, nil
}

// mountLocal binds a local volume's directory into the pod's.
func mountLocal(pod *corev1.Pod, source, place string, readOnly bool) error {
	info, err := os.Stat(source)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("path %q does not exist", source)
	}
	if err != nil {
		return fmt.Errorf("examining a local volume: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("local volume %q is not a directory", source)
	}
	if err := os.MkdirAll(place, 0o750); err != nil {
		return fmt.Errorf("making a place for a local volume: %w", err)
	}
	mounted, err := isMount(place)
	if err != nil || mounted {
		return err
	}
	if group := fsGroupOf(pod); group != nil && !readOnly {
		if err := ownTree(source, *group, skipsMatchingRoot(pod)); err != nil {
			return err
		}
	}
	return bind(source, place, readOnly)
}
