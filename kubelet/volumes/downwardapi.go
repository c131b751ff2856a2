package volumes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/downward"
)

const downwardName = "kubernetes.io~downward-api"

// downwardAPI is the kind whose files are fields of the pod itself.
func downwardAPI(allocatable func() corev1.ResourceList) kind {
	return rendered{
		name:     downwardName,
		claims:   func(spec *corev1.Volume) bool { return spec.DownwardAPI != nil },
		inMemory: true,
		files: func(_ context.Context, v *volume) (files, time.Time, error) {
			m, err := modesOf(v.spec.DownwardAPI.DefaultMode)
			if err != nil {
				return nil, time.Time{}, err
			}
			payload := files{}
			return payload, time.Time{}, addDownward(payload, m, v.pod, v.spec.DownwardAPI.Items, allocatable)
		},
	}
}

// addDownward adds all items it can, and answers the failures of the others together.
func addDownward(payload files, m modes, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, allocatable func() corev1.ResourceList) error {
	var failures []error
	for i := range items {
		value, err := downwardValue(pod, &items[i], allocatable)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		payload[items[i].Path] = m.file([]byte(value), items[i].Mode)
	}
	return errors.Join(failures...)
}

func downwardValue(pod *corev1.Pod, item *corev1.DownwardAPIVolumeFile, allocatable func() corev1.ResourceList) (string, error) {
	switch {
	case item.FieldRef != nil:
		return downward.Field(pod, item.FieldRef.FieldPath)
	case item.ResourceFieldRef != nil:
		container, err := downward.Container(pod, item.ResourceFieldRef.ContainerName)
		if err != nil {
			return "", err
		}
		var node corev1.ResourceList
		if allocatable != nil {
			node = allocatable()
		}
		return downward.Resource(pod, container, item.ResourceFieldRef, node)
	}
	return "", fmt.Errorf("item %s refers to neither a field nor a resource", item.Path)
}
