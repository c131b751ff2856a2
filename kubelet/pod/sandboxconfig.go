package pod

import (
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// maxHostname is the kernel's limit on host names that upstream keeps to.
const maxHostname = 63

// Host is what a pod's configuration needs to know of the node.
type Host struct {
	// Root is where the node keeps files of pods, below pods/<uid>; Logs where container logs go.
	Root, Logs string
	// ClusterDNS and ClusterDomain serve pods with the ClusterFirst policy.
	ClusterDNS    []string
	ClusterDomain string
	// Resolver is the host's resolv.conf.
	Resolver Resolver
	// MemoryCapacity is the node's memory in bytes; it scales oom_score_adj.
	MemoryCapacity int64
	// NodeName and IPs are the node's own.
	NodeName string
	IPs      []string
	// Cgroup2 says that limits are those of the second version.
	Cgroup2 bool
	// PidLimit and swap are left to the runtime.
}

// Resolver is the host's resolver configuration.
type Resolver struct{ Servers, Searches, Options []string }

// Dir is where the node keeps files of one pod.
func (h Host) Dir(pod *corev1.Pod) string { return filepath.Join(h.Root, "pods", string(pod.UID)) }

// LogDir is where the logs of one pod go.
func (h Host) LogDir(pod *corev1.Pod) string {
	return filepath.Join(h.Logs, strings.Join([]string{pod.Namespace, pod.Name, string(pod.UID)}, "_"))
}

// Hostname is the pod's host name inside, and domain what follows it; domain is empty without a subdomain.
func Hostname(pod *corev1.Pod, clusterDomain string) (name, domain string) {
	name = pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	if pod.Spec.HostnameOverride != nil {
		return *pod.Spec.HostnameOverride, ""
	}
	if pod.Spec.Subdomain != "" {
		domain = strings.Join([]string{pod.Spec.Subdomain, pod.Namespace, "svc", clusterDomain}, ".")
	}
	return name, domain
}

// Sandbox makes the configuration of the pod's sandbox.
func (h Host) Sandbox(pod *corev1.Pod, attempt uint32, cgroupParent string) *cri.SandboxConfig {
	config := &cri.SandboxConfig{
		Metadata:     &cri.SandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		LogDirectory: h.LogDir(pod),
		DnsConfig:    h.dns(pod),
		Labels:       sandboxLabels(pod),
		Annotations:  pod.Annotations,
		Linux: &cri.LinuxSandboxConfig{
			CgroupParent: cgroupParent, Sysctls: sysctls(pod), SecurityContext: h.sandboxSecurity(pod), Overhead: overhead(pod), Resources: podResources(pod),
		},
	}
	name, domain := Hostname(pod, h.ClusterDomain)
	if !pod.Spec.HostNetwork || pod.Spec.HostnameOverride != nil {
		config.Hostname = name
		if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && domain != "" {
			config.Hostname = name + "." + domain
		}
	}
	for _, c := range containers(pod) {
		for _, port := range c.Ports {
			if port.HostPort == 0 || pod.Spec.HostNetwork {
				continue
			}
			config.PortMappings = append(config.PortMappings, &cri.PortMapping{
				Protocol: cri.Protocol(string(port.Protocol)), ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIp: port.HostIP,
			})
		}
	}
	return config
}

func sandboxLabels(pod *corev1.Pod) map[string]string {
	labels := map[string]string{}
	for key, value := range pod.Labels {
		labels[key] = value
	}
	labels[cri.LabelPodName], labels[cri.LabelPodNamespace], labels[cri.LabelPodUID] = pod.Name, pod.Namespace, string(pod.UID)
	return labels
}

func sysctls(pod *corev1.Pod) map[string]string {
	out := map[string]string{}
	if pod.Spec.SecurityContext != nil {
		for _, s := range pod.Spec.SecurityContext.Sysctls {
			out[s.Name] = s.Value
		}
	}
	return out
}

func (h Host) sandboxSecurity(pod *corev1.Pod) *cri.LinuxSandboxSecurity {
	out := &cri.LinuxSandboxSecurity{
		NamespaceOptions: namespaces(pod),
		Seccomp:          &cri.SecurityProfile{ProfileType: cri.ProfileRuntimeDefault},
	}
	for _, c := range containers(pod) {
		if c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
			out.Privileged = true
		}
	}
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return out
	}
	if sc.RunAsUser != nil {
		out.RunAsUser = &cri.Int64Value{Value: *sc.RunAsUser}
		if sc.RunAsGroup != nil {
			out.RunAsGroup = &cri.Int64Value{Value: *sc.RunAsGroup}
		}
	}
	out.SelinuxOptions = selinux(sc.SELinuxOptions)
	out.SupplementalGroups = supplementalGroups(pod)
	out.SupplementalGroupsPolicy = groupsPolicy(sc)
	return out
}

// namespaces says which of the host's namespaces the pod uses. A pod that shares processes has one for all containers.
func namespaces(pod *corev1.Pod) *cri.NamespaceOption {
	out := &cri.NamespaceOption{Network: cri.NamespacePod, Ipc: cri.NamespacePod, Pid: cri.NamespaceContainer}
	if pod.Spec.HostNetwork {
		out.Network = cri.NamespaceNode
	}
	if pod.Spec.HostIPC {
		out.Ipc = cri.NamespaceNode
	}
	switch {
	case pod.Spec.HostPID:
		out.Pid = cri.NamespaceNode
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		out.Pid = cri.NamespacePod
	}
	return out
}

func overhead(pod *corev1.Pod) *cri.LinuxContainerResources {
	if len(pod.Spec.Overhead) == 0 {
		return nil
	}
	return resources(corev1.ResourceRequirements{Requests: pod.Spec.Overhead, Limits: pod.Spec.Overhead})
}

// graceAnnotation is the pod's grace period in seconds, for a process that finds the container without its pod.
func graceAnnotation(pod *corev1.Pod) string {
	return strconv.FormatInt(int64(grace(pod).Seconds()), 10)
}
