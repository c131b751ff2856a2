package slim

import (
	"maps"
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// share puts parts of like in place of equal ones of pod.
func share(pod, like *corev1.Pod) {
	sameMap(&pod.Labels, like.Labels)
	sameMap(&pod.Annotations, like.Annotations)
	sameMap(&pod.Spec.NodeSelector, like.Spec.NodeSelector)
	same(&pod.OwnerReferences, like.OwnerReferences)
	same(&pod.Finalizers, like.Finalizers)
	same(&pod.Spec.Tolerations, like.Spec.Tolerations)
	same(&pod.Spec.Affinity, like.Spec.Affinity)
	same(&pod.Spec.TopologySpreadConstraints, like.Spec.TopologySpreadConstraints)
	same(&pod.Spec.SecurityContext, like.Spec.SecurityContext)
	same(&pod.Spec.ImagePullSecrets, like.Spec.ImagePullSecrets)
	same(&pod.Spec.Volumes, like.Spec.Volumes)
	if len(pod.Spec.Volumes) == len(like.Spec.Volumes) {
		for i := range pod.Spec.Volumes { // that of the token has another name in every pod
			same(&pod.Spec.Volumes[i].VolumeSource, like.Spec.Volumes[i].VolumeSource)
		}
	}
	same(&pod.Status.Conditions, like.Status.Conditions) // those of pods that started in the same second
	shareContainers(pod.Spec.InitContainers, like.Spec.InitContainers)
	shareContainers(pod.Spec.Containers, like.Spec.Containers)
}

// shareNode does the same for nodes.
func shareNode(node, like *corev1.Node) {
	same(&node.Status.Capacity, like.Status.Capacity)
	same(&node.Status.Allocatable, like.Status.Allocatable)
	same(&node.Status.Allocatable, node.Status.Capacity) // where nothing is reserved
	same(&node.Status.Conditions, like.Status.Conditions)
	same(&node.Status.Images, like.Status.Images)
	same(&node.Status.RuntimeHandlers, like.Status.RuntimeHandlers)
	same(&node.Status.Features, like.Status.Features)
	same(&node.Status.DeclaredFeatures, like.Status.DeclaredFeatures)
	same(&node.Status.NodeInfo.KernelVersion, like.Status.NodeInfo.KernelVersion)
	same(&node.Status.NodeInfo.OSImage, like.Status.NodeInfo.OSImage)
	same(&node.Status.NodeInfo.ContainerRuntimeVersion, like.Status.NodeInfo.ContainerRuntimeVersion)
	same(&node.Status.NodeInfo.KubeletVersion, like.Status.NodeInfo.KubeletVersion)
	same(&node.Status.NodeInfo.KubeProxyVersion, like.Status.NodeInfo.KubeProxyVersion)
	same(&node.Spec.Taints, like.Spec.Taints)
}

func shareContainers(all, like []corev1.Container) {
	if len(all) != len(like) {
		return
	}
	for i := range all {
		c, l := &all[i], &like[i]
		same(&c.Name, l.Name)
		same(&c.Image, l.Image)
		same(&c.Command, l.Command)
		same(&c.Args, l.Args)
		same(&c.WorkingDir, l.WorkingDir)
		same(&c.Ports, l.Ports)
		same(&c.EnvFrom, l.EnvFrom)
		same(&c.Env, l.Env)
		same(&c.Resources, l.Resources)
		same(&c.ResizePolicy, l.ResizePolicy)
		same(&c.VolumeDevices, l.VolumeDevices)
		same(&c.LivenessProbe, l.LivenessProbe)
		same(&c.ReadinessProbe, l.ReadinessProbe)
		same(&c.StartupProbe, l.StartupProbe)
		same(&c.Lifecycle, l.Lifecycle)
		same(&c.TerminationMessagePath, l.TerminationMessagePath)
		same(&c.TerminationMessagePolicy, l.TerminationMessagePolicy)
		same(&c.ImagePullPolicy, l.ImagePullPolicy)
		same(&c.SecurityContext, l.SecurityContext)
	}
}

// same makes *p the equal value like, whose parts are then shared.
func same[T any](p *T, like T) {
	if reflect.DeepEqual(*p, like) {
		*p = like
	}
}

func sameMap(p *map[string]string, like map[string]string) {
	if (*p == nil) == (like == nil) && maps.Equal(*p, like) {
		*p = like
	}
}
