package cri

import runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

// What the node asks of the runtime, in the API's own messages.
type (
	// SandboxConfig describes a pod's sandbox.
	SandboxConfig = runtimeapi.PodSandboxConfig
	// SandboxMetadata names a sandbox: pod, UID, namespace and attempt.
	SandboxMetadata = runtimeapi.PodSandboxMetadata
	// LinuxSandboxConfig is a sandbox's Linux part.
	LinuxSandboxConfig = runtimeapi.LinuxPodSandboxConfig
	// LinuxSandboxSecurity is a sandbox's security context.
	LinuxSandboxSecurity = runtimeapi.LinuxSandboxSecurityContext
	// DNSConfig is the content of resolv.conf.
	DNSConfig = runtimeapi.DNSConfig
	// PortMapping is one host port.
	PortMapping = runtimeapi.PortMapping
	// ContainerConfig describes a container.
	ContainerConfig = runtimeapi.ContainerConfig
	// ContainerMetadata names a container and its attempt.
	ContainerMetadata = runtimeapi.ContainerMetadata
	// LinuxContainerConfig is a container's Linux part.
	LinuxContainerConfig = runtimeapi.LinuxContainerConfig
	// LinuxContainerSecurity is a container's security context.
	LinuxContainerSecurity = runtimeapi.LinuxContainerSecurityContext
	// LinuxContainerResources are cgroup limits.
	LinuxContainerResources = runtimeapi.LinuxContainerResources
	// HugepageLimit is the limit of one page size.
	HugepageLimit = runtimeapi.HugepageLimit
	// ImageSpec names an image.
	ImageSpec = runtimeapi.ImageSpec
	// KeyValue is one environment variable.
	KeyValue = runtimeapi.KeyValue
	// Mount is one bind mount.
	Mount = runtimeapi.Mount
	// Device is one host device.
	Device = runtimeapi.Device
	// Capability is what is added to and dropped from the default set.
	Capability = runtimeapi.Capability
	// SecurityProfile is a seccomp or AppArmor profile.
	SecurityProfile = runtimeapi.SecurityProfile
	// SELinuxOption is an SELinux label.
	SELinuxOption = runtimeapi.SELinuxOption
	// NamespaceOption says which namespaces are shared.
	NamespaceOption = runtimeapi.NamespaceOption
	// UserNamespace is the user namespace of a pod.
	UserNamespace = runtimeapi.UserNamespace
	// Int64Value is an optional number.
	Int64Value = runtimeapi.Int64Value
	// AuthConfig are a registry's credentials.
	AuthConfig = runtimeapi.AuthConfig
)

// Namespace modes.
const (
	NamespacePod       = runtimeapi.NamespaceMode_POD
	NamespaceContainer = runtimeapi.NamespaceMode_CONTAINER
	NamespaceNode      = runtimeapi.NamespaceMode_NODE
	NamespaceTarget    = runtimeapi.NamespaceMode_TARGET
)

// Mount propagations.
const (
	PropagationPrivate         = runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	PropagationHostToContainer = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	PropagationBidirectional   = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
)

// Security profile kinds.
const (
	ProfileRuntimeDefault = runtimeapi.SecurityProfile_RuntimeDefault
	ProfileUnconfined     = runtimeapi.SecurityProfile_Unconfined
	ProfileLocalhost      = runtimeapi.SecurityProfile_Localhost
)

// Supplemental groups policies.
const (
	GroupsMerge  = runtimeapi.SupplementalGroupsPolicy_Merge
	GroupsStrict = runtimeapi.SupplementalGroupsPolicy_Strict
)

// Protocol translates TCP, UDP and SCTP; anything else is TCP.
func Protocol(name string) runtimeapi.Protocol {
	return runtimeapi.Protocol(runtimeapi.Protocol_value[name])
}

// Signal translates a name such as SIGUSR1; an unknown one is the runtime's default.
func Signal(name string) runtimeapi.Signal { return runtimeapi.Signal(runtimeapi.Signal_value[name]) }

// GroupsPolicy says whether an image's own groups are added to the pod's.
type GroupsPolicy = runtimeapi.SupplementalGroupsPolicy

// Propagation is how mounts spread between host and container.
type Propagation = runtimeapi.MountPropagation
