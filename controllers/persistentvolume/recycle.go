package persistentvolume

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
)

// recyclerPrefix begins the names of the pods that empty volumes; the volume's name follows.
const recyclerPrefix = "recycler-for-"

// recycler is a pod that this process started. One that it did not start is never trusted: anybody may have made it,
// for this release of the volume or an earlier one.
type recycler struct {
	uid types.UID
	// done is set once the pod has succeeded: the volume is empty.
	done bool
}

// RecycleStep is the next step of emptying a volume.
type RecycleStep struct {
	// Start the pod; Remove the one that is there.
	Start, Remove bool
	// Done says that the volume is empty.
	Done bool
	// Failure is why it is not.
	Failure string
	// Users are pods that have to end first.
	Users []string
}

// PlanRecycle decides the next step. pod is the volume's pod, nil if there is none; own is the one that was started.
func PlanRecycle(pod *corev1.Pod, own recycler, users []string) RecycleStep {
	switch {
	case own.done:
		return RecycleStep{Done: true, Remove: pod != nil && pod.DeletionTimestamp == nil}
	case pod == nil && own.uid != "":
		return RecycleStep{Failure: "recycler pod was deleted"}
	case pod == nil && len(users) > 0:
		return RecycleStep{Users: users}
	case pod == nil:
		return RecycleStep{Start: true}
	case pod.UID != own.uid:
		return RecycleStep{Remove: pod.DeletionTimestamp == nil}
	case pod.Status.Phase == corev1.PodSucceeded:
		return RecycleStep{Done: true, Remove: pod.DeletionTimestamp == nil}
	case pod.Status.Phase == corev1.PodFailed && pod.Status.Message != "":
		return RecycleStep{Failure: pod.Status.Message, Remove: true}
	case pod.Status.Phase == corev1.PodFailed:
		return RecycleStep{Failure: "pod failed, pod.Status.Message unknown", Remove: true}
	}
	return RecycleStep{}
}

// recycle takes the next step. It is called again when the pod changes, and every so often after a failure.
func (r *reconciler) recycle(ctx context.Context, volume *corev1.PersistentVolume) error {
	pod, err := r.recyclerPod(ctx, volume)
	if err != nil {
		return err
	}
	users, err := r.users(volume.Spec.ClaimRef)
	if err != nil {
		return err
	}
	step := PlanRecycle(pod, r.recyclers[volume.Name], users)
	if step.Done {
		r.recyclers[volume.Name] = recycler{uid: r.recyclers[volume.Name].uid, done: true}
	}
	if step.Remove {
		err := r.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting recycler pod %s: %w", pod.Name, err)
		}
	}
	switch {
	case step.Done:
		return r.recycled(ctx, volume)
	case step.Failure != "":
		delete(r.recyclers, volume.Name)
		message := "Recycle failed: failed to recycle volume: " + step.Failure
		_, err := r.volumePhase(ctx, volume, corev1.VolumeFailed, message, warning("VolumeFailedRecycle", "%s", message))
		return err
	case len(step.Users) > 0:
		r.say(volume, normal("VolumeFailedRecycle", "Volume is used by pods: %s", strings.Join(step.Users, ",")))
	case step.Start:
		return r.startRecycler(ctx, volume)
	}
	return nil
}

// recycled gives the empty volume back.
func (r *reconciler) recycled(ctx context.Context, volume *corev1.PersistentVolume) error {
	unbound, err := r.updateVolume(ctx, Unbound(volume))
	if err != nil {
		return err
	}
	delete(r.recyclers, volume.Name)
	r.say(unbound, normal("VolumeRecycled", "Volume recycled"))
	_, err = r.volumePhase(ctx, unbound, corev1.VolumeAvailable, "", nil)
	return err
}

func (r *reconciler) startRecycler(ctx context.Context, volume *corev1.PersistentVolume) error {
	pod, err := r.env.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, Recycler(volume), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // its event comes
	}
	if err != nil {
		return fmt.Errorf("creating the recycler pod of volume %s: %w", volume.Name, err)
	}
	r.recyclers[volume.Name] = recycler{uid: pod.UID}
	return nil
}

// recyclerPod answers the volume's pod, nil if there is none. The API is asked for one that was started and that the
// cache does not have.
func (r *reconciler) recyclerPod(ctx context.Context, volume *corev1.PersistentVolume) (*corev1.Pod, error) {
	name := recyclerPrefix + volume.Name
	item, there, err := r.pods.GetByKey(metav1.NamespaceDefault + "/" + name)
	if err != nil {
		return nil, fmt.Errorf("reading recycler pod: %w", err)
	}
	if pod, ok := item.(*corev1.Pod); ok && there {
		return pod, nil
	}
	if r.recyclers[volume.Name].uid == "" {
		return nil, nil
	}
	pod, err := r.env.Client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading recycler pod: %w", err)
	}
	return pod, nil
}

// users answers the pods that may still use the volume of a claim that is gone. Where another claim has taken the
// name, pods mean that one.
func (r *reconciler) users(ref *corev1.ObjectReference) ([]string, error) {
	key := controller.Key{Namespace: ref.Namespace, Name: ref.Name}
	if claim, there, err := r.claim(key); err != nil || (there && claim.UID != ref.UID) {
		return nil, err
	}
	pods, err := claims.Pods(r.pods, key)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pod := range pods {
		if !podset.Finished(pod) {
			names = append(names, pod.Namespace+"/"+pod.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Recycler answers the pod that empties the volume. It has a minute for a directory of the host and five for one of an
// NFS server, and half a minute for each GiB if that is more.
func Recycler(volume *corev1.PersistentVolume) *corev1.Pod {
	seconds, source := int64(60), corev1.VolumeSource{NFS: volume.Spec.NFS}
	if volume.Spec.NFS != nil {
		seconds = 300
	}
	if path := volume.Spec.HostPath; path != nil {
		source = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path.Path}}
	}
	size := volume.Spec.Capacity[corev1.ResourceStorage]
	seconds = max(seconds, size.Value()>>30*30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: recyclerPrefix + volume.Name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			ActiveDeadlineSeconds: &seconds, RestartPolicy: corev1.RestartPolicyNever,
			Volumes: []corev1.Volume{{Name: "vol", VolumeSource: source}},
			Containers: []corev1.Container{{
				Name: "pv-recycler", Image: "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6", Command: []string{"/bin/sh"},
				Args:         []string{"-c", `test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1`},
				VolumeMounts: []corev1.VolumeMount{{Name: "vol", MountPath: "/scrub"}},
			}},
		},
	}
}

// ofRecycler names the volume that the pod empties.
func ofRecycler(before, after metav1.Object) []controller.Key {
	key := controller.Self(before, after)[0]
	volume, ok := strings.CutPrefix(key.Name, recyclerPrefix)
	if !ok || key.Namespace != metav1.NamespaceDefault {
		return nil
	}
	return []controller.Key{{Name: volume}}
}
