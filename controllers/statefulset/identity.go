package statefulset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/podset"
)

const none = -1

// ordinal answers the number at the end of the name of one of the set's pods, none for another name.
func ordinal(set *appsv1.StatefulSet, pod *corev1.Pod) int {
	number, ok := strings.CutPrefix(pod.Name, set.Name+"-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || strconv.Itoa(n) != number {
		return none
	}
	return n
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

// newPod answers the pod of that ordinal in the given form of the set.
func newPod(set *appsv1.StatefulSet, ordinal int, revision string) *corev1.Pod {
	pod := podset.FromTemplate(&set.Spec.Template, set, owner.NewRef(set, kind()))
	pod.GenerateName = ""
	pod.Name = podName(set, ordinal)
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	identify(set, pod, ordinal)
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
	return pod
}

// identify gives the pod what tells it apart: its labels and its claims.
func identify(set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	var volumes []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		volumes = append(volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, t, ordinal)},
		}})
	}
	for _, v := range pod.Spec.Volumes {
		if !slices.ContainsFunc(volumes, func(own corev1.Volume) bool { return own.Name == v.Name }) {
			volumes = append(volumes, v)
		}
	}
	pod.Spec.Volumes = volumes
}

// identified answers whether a pod bears the labels of its ordinal.
func identified(pod *corev1.Pod, ordinal int) bool {
	return pod.Labels[appsv1.StatefulSetPodNameLabel] == pod.Name && pod.Labels[appsv1.PodIndexLabel] == strconv.Itoa(ordinal)
}

// restore answers the set as a revision remembers it.
func restore(set *appsv1.StatefulSet, revision *appsv1.ControllerRevision) (*appsv1.StatefulSet, error) {
	raw, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encoding set: %w", err)
	}
	patched, err := strategicpatch.StrategicMergePatch(raw, revision.Data.Raw, set)
	if err != nil {
		return nil, fmt.Errorf("restoring revision %s: %w", revision.Name, err)
	}
	restored := &appsv1.StatefulSet{}
	if err := json.Unmarshal(patched, restored); err != nil {
		return nil, fmt.Errorf("decoding revision %s: %w", revision.Name, err)
	}
	return restored, nil
}
