// Package downward answers what a pod may be told about itself: the fields and resources that `fieldRef` and
// `resourceFieldRef` name, in environment variables and in downwardAPI volumes alike.
package downward

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Field answers a field of the pod's metadata and spec by the path a fieldRef gives it. Whole maps (metadata.labels) are
// rendered one `key="value"` per line, sorted. Paths below status are answered from the pod's status as it is.
func Field(pod *corev1.Pod, path string) (string, error) {
	if value, found, err := subscript(pod, path); found || err != nil {
		return value, err
	}
	switch path {
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		return pod.Status.PodIP, nil
	case "status.podIPs":
		return joinIPs(pod.Status.PodIPs, func(ip corev1.PodIP) string { return ip.IP }), nil
	case "status.hostIP":
		return pod.Status.HostIP, nil
	case "status.hostIPs":
		return joinIPs(pod.Status.HostIPs, func(ip corev1.HostIP) string { return ip.IP }), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// subscript answers metadata.labels['key'] and metadata.annotations['key']; found is false for any other path.
func subscript(pod *corev1.Pod, path string) (value string, found bool, err error) {
	base, rest, ok := strings.Cut(path, "['")
	if !ok || !strings.HasSuffix(rest, "']") {
		return "", false, nil
	}
	key := strings.TrimSuffix(rest, "']")
	switch base {
	case "metadata.annotations":
		if problems := validation.IsQualifiedName(strings.ToLower(key)); len(problems) > 0 {
			return "", true, fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(problems, ";"))
		}
		return pod.Annotations[key], true, nil
	case "metadata.labels":
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			return "", true, fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(problems, ";"))
		}
		return pod.Labels[key], true, nil
	}
	return "", true, fmt.Errorf("fieldPath %q does not support subscript", path)
}

func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%v=%q", key, m[key]))
	}
	return strings.Join(lines, "\n")
}

func joinIPs[T any](ips []T, text func(T) string) string {
	parts := make([]string, 0, len(ips))
	for _, ip := range ips {
		parts = append(parts, text(ip))
	}
	return strings.Join(parts, ",")
}
