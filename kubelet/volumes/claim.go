package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/storage/ephemeral"
)

const localName = "kubernetes.io~local-volume"

// claim is the kind whose content outlives pods: a persistent volume behind a claim, be it named by the pod or made for
// it (ephemeral).
type claim struct {
	client kubernetes.Interface
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
	switch {
	case pv.Spec.HostPath != nil:
		return pv.Spec.HostPath.Path, time.Time{}, checkHostPath(pv.Spec.HostPath)
	case pv.Spec.Local != nil:
		readOnly := v.spec.PersistentVolumeClaim != nil && v.spec.PersistentVolumeClaim.ReadOnly
		place := filepath.Join(filepath.Dir(v.dir), pv.Name)
		return place, time.Time{}, mountLocal(v.pod, pv.Spec.Local.Path, place, readOnly)
	}
	return "", time.Time{}, fmt.Errorf("persistent volume %q is of a type this node cannot mount", pv.Name)
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
	if mode := found.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		return nil, fmt.Errorf("error processing PVC %s/%s: this node cannot provide block volumes", v.pod.Namespace, name)
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
