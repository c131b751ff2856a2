package pod

import (
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// Paths that containers may not see or write, unless they ask for an unmasked /proc.
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// effective merges the pod's security context into the container's, which wins.
func effective(pod *corev1.Pod, c *corev1.Container) *corev1.SecurityContext {
	out := &corev1.SecurityContext{}
	if c.SecurityContext != nil {
		out = c.SecurityContext.DeepCopy()
	}
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return out
	}
	if out.RunAsUser == nil {
		out.RunAsUser = sc.RunAsUser
	}
	if out.RunAsGroup == nil {
		out.RunAsGroup = sc.RunAsGroup
	}
	if out.RunAsNonRoot == nil {
		out.RunAsNonRoot = sc.RunAsNonRoot
	}
	if out.SELinuxOptions == nil {
		out.SELinuxOptions = sc.SELinuxOptions
	}
	if out.SeccompProfile == nil {
		out.SeccompProfile = sc.SeccompProfile
	}
	if out.AppArmorProfile == nil {
		out.AppArmorProfile = sc.AppArmorProfile
	}
	return out
}

// containerSecurity makes the container's security context.
func containerSecurity(pod *corev1.Pod, c *corev1.Container, host Host) *cri.LinuxContainerSecurity {
	sc := effective(pod, c)
	out := &cri.LinuxContainerSecurity{
		NamespaceOptions: namespaces(pod), SelinuxOptions: selinux(sc.SELinuxOptions), SupplementalGroups: supplementalGroups(pod),
		Seccomp: seccomp(sc.SeccompProfile, host), Apparmor: apparmor(pod, c, sc),
	}
	if pod.Spec.SecurityContext != nil {
		out.SupplementalGroupsPolicy = groupsPolicy(pod.Spec.SecurityContext)
	}
	if sc.RunAsUser != nil {
		out.RunAsUser = &cri.Int64Value{Value: *sc.RunAsUser}
	}
	if sc.RunAsGroup != nil {
		out.RunAsGroup = &cri.Int64Value{Value: *sc.RunAsGroup}
	}
	out.Privileged = sc.Privileged != nil && *sc.Privileged
	out.ReadonlyRootfs = sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	out.NoNewPrivs = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	if sc.ProcMount == nil || *sc.ProcMount == corev1.DefaultProcMount {
		out.MaskedPaths, out.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	if sc.Capabilities != nil {
		out.Capabilities = &cri.Capability{}
		for _, name := range sc.Capabilities.Add {
			out.Capabilities.AddCapabilities = append(out.Capabilities.AddCapabilities, string(name))
		}
		for _, name := range sc.Capabilities.Drop {
			out.Capabilities.DropCapabilities = append(out.Capabilities.DropCapabilities, string(name))
		}
	}
	return out
}

func selinux(o *corev1.SELinuxOptions) *cri.SELinuxOption {
	if o == nil {
		return nil
	}
	return &cri.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// supplementalGroups are the pod's groups; the fsGroup is one of them.
func supplementalGroups(pod *corev1.Pod) []int64 {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return nil
	}
	var out []int64
	if sc.FSGroup != nil {
		out = append(out, *sc.FSGroup)
	}
	return append(out, sc.SupplementalGroups...)
}

func groupsPolicy(sc *corev1.PodSecurityContext) cri.GroupsPolicy {
	if sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict {
		return cri.GroupsStrict
	}
	return cri.GroupsMerge
}

func seccomp(p *corev1.SeccompProfile, host Host) *cri.SecurityProfile {
	if p == nil {
		return &cri.SecurityProfile{ProfileType: cri.ProfileUnconfined}
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return &cri.SecurityProfile{ProfileType: cri.ProfileRuntimeDefault}
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile != nil {
			return &cri.SecurityProfile{ProfileType: cri.ProfileLocalhost, LocalhostRef: filepath.Join(host.Root, "seccomp", *p.LocalhostProfile)}
		}
	}
	return &cri.SecurityProfile{ProfileType: cri.ProfileUnconfined}
}

// apparmorAnnotation named profiles before they had a field.
const apparmorAnnotation = "container.apparmor.security.beta.kubernetes.io/"

func apparmor(pod *corev1.Pod, c *corev1.Container, sc *corev1.SecurityContext) *cri.SecurityProfile {
	profile := sc.AppArmorProfile
	if profile == nil {
		switch pod.Annotations[apparmorAnnotation+c.Name] {
		case "unconfined":
			return &cri.SecurityProfile{ProfileType: cri.ProfileUnconfined}
		}
		return nil
	}
	switch profile.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		return &cri.SecurityProfile{ProfileType: cri.ProfileUnconfined}
	case corev1.AppArmorProfileTypeLocalhost:
		if profile.LocalhostProfile != nil {
			return &cri.SecurityProfile{ProfileType: cri.ProfileLocalhost, LocalhostRef: *profile.LocalhostProfile}
		}
	}
	return &cri.SecurityProfile{ProfileType: cri.ProfileRuntimeDefault}
}

// verifyNonRoot refuses to start a container as root when its pod forbids that.
func verifyNonRoot(pod *corev1.Pod, c *corev1.Container, imageUID *int64, imageUser string) error {
	sc := effective(pod, c)
	if sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", c.Name)
	switch {
	case sc.RunAsUser != nil && *sc.RunAsUser == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case sc.RunAsUser != nil:
		return nil
	case imageUID != nil && *imageUID == 0, imageUID == nil && imageUser == "":
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case imageUID == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", imageUser, where)
	}
	return nil
}
