// Package podspec is the meaning of a pod spec to the API: the defaults of its
// fields, the fields that features which are off drop, and what is valid. Pods
// and everything with a pod template share it.
//
//   - [SetDefaults] and [SetTemplateDefaults] fill what the user left out;
//   - [Drop] removes the fields whose feature is off;
//   - [Validate] and [ValidateTemplate] say what is wrong, with the field
//     paths and texts of the Kubernetes API.
package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

// SetTemplateDefaults fills the defaults of a pod template.
func SetTemplateDefaults(t *corev1.PodTemplateSpec) { SetDefaults(&t.Spec) }

// SetDefaults fills the defaults every pod spec has, be it a pod's or a template's.
func SetDefaults(s *corev1.PodSpec) {
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	setDefault(&s.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&s.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&s.SchedulerName, corev1.DefaultSchedulerName)
	setPointer(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	setPointer(&s.SecurityContext, corev1.PodSecurityContext{})
	setDefault(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&c)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	RoundUp(s.Overhead)
	if s.Resources != nil {
		RoundUp(s.Resources.Limits)
		RoundUp(s.Resources.Requests)
	}
}

// SetPodDefaults fills what a pod has beyond the defaults of any pod spec:
// templates leave these to the pods made from them.
func SetPodDefaults(s *corev1.PodSpec) {
	setPointer(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		s.TerminationGracePeriodSeconds = new(int64(1))
	}
	for i := range s.Containers {
		requestsFromLimits(&s.Containers[i].Resources)
	}
	for i := range s.InitContainers {
		requestsFromLimits(&s.InitContainers[i].Resources)
	}
	if s.HostNetwork {
		hostPorts(s.Containers)
		hostPorts(s.InitContainers)
	}
}

// hostPorts makes a port of a pod in the host's network a port of the host.
func hostPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			setDefault(&containers[i].Ports[j].HostPort, containers[i].Ports[j].ContainerPort)
		}
	}
}

// setDefault sets *p when it is its zero value.
func setDefault[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

// setPointer points *p to a copy of value when it is nil.
func setPointer[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
