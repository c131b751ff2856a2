package podspec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// checkSecurity checks a container's security context.
func (c *checker) checkSecurity(s *corev1.SecurityContext, path *field.Path) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	errs = append(errs, validateIDs(s.RunAsUser, s.RunAsGroup, path)...)
	if p := s.ProcMount; p != nil {
		if err := validate.Enum(*p, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount); len(err) > 0 {
			errs = append(errs, err...)
		} else if *p == corev1.UnmaskedProcMount && (c.spec.HostUsers == nil || *c.spec.HostUsers) {
			errs = append(errs, field.Invalid(path.Child("procMount"), *p, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, validateSeccomp(s.SeccompProfile, path.Child("seccompProfile"))...)
	if e := s.AllowPrivilegeEscalation; e != nil && !*e {
		if s.Privileged != nil && *s.Privileged {
			errs = append(errs, field.Invalid(path, untagged(*s), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if s.Capabilities != nil && slices.Contains(s.Capabilities.Add, "CAP_SYS_ADMIN") {
			errs = append(errs, field.Invalid(path, untagged(*s), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	errs = append(errs, validateWindowsOptions(s.WindowsOptions, path.Child("windowsOptions"))...)
	return append(errs, validateAppArmor(s.AppArmorProfile, path.Child("appArmorProfile"))...)
}

func validateIDs(user, group *int64, path *field.Path) (errs field.ErrorList) {
	if user != nil {
		errs = append(errs, validate.All(path.Child("runAsUser"), *user, validation.IsValidUserID(*user))...)
	}
	if group != nil {
		errs = append(errs, validate.All(path.Child("runAsGroup"), *group, validation.IsValidGroupID(*group))...)
	}
	return errs
}

// checkPodSecurity checks the pod's security context.
func (c *checker) checkPodSecurity(spec *field.Path) (errs field.ErrorList) {
	s, path := c.spec.SecurityContext, spec.Child("securityContext")
	if s == nil {
		return nil
	}
	if s.FSGroup != nil {
		errs = append(errs, validate.All(path.Child("fsGroup"), *s.FSGroup, validation.IsValidGroupID(*s.FSGroup))...)
	}
	errs = append(errs, validateIDs(s.RunAsUser, s.RunAsGroup, path)...)
	for i, g := range s.SupplementalGroups {
		errs = append(errs, validate.All(path.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g))...)
	}
	if c.spec.ShareProcessNamespace != nil && *c.spec.ShareProcessNamespace && c.spec.HostPID {
		errs = append(errs, field.Invalid(spec.Child("shareProcessNamespace"), *c.spec.ShareProcessNamespace, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, c.checkSysctls(s.Sysctls, path.Child("sysctls"))...)
	if p := s.FSGroupChangePolicy; p != nil {
		errs = append(errs, validate.Enum(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	errs = append(errs, validateSeccomp(s.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateWindowsOptions(s.WindowsOptions, path.Child("windowsOptions"))...)
	errs = append(errs, validateAppArmor(s.AppArmorProfile, path.Child("appArmorProfile"))...)
	if p := s.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, validate.Enum(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if p := s.SELinuxChangePolicy; p != nil {
		errs = append(errs, validate.Enum(*p, path.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	return errs
}

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (c *checker) checkSysctls(list []corev1.Sysctl, path *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, s := range list {
		at := path.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(s.Name) > 253 || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", 253, sysctlName)))
		case seen[s.Name]:
			errs = append(errs, field.Duplicate(at, s.Name))
		}
		name := strings.ReplaceAll(s.Name, "/", ".")
		if c.spec.HostNetwork && strings.HasPrefix(name, "net.") {
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostNetwork' is true"))
		}
		if c.spec.HostIPC && (strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue.")) {
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostIPC' is true"))
		}
		seen[s.Name] = true
	}
	return errs
}

func validateSeccomp(p *corev1.SeccompProfile, path *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
	case "":
		errs = append(errs, field.Required(path.Child("type"), "type is required when seccompProfile is set"))
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), p.Type, []corev1.SeccompProfileType{corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined}))
	}
	local := path.Child("localhostProfile")
	switch {
	case p.Type != corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(local, untagged(*p), "can only be set when seccomp type is Localhost"))
	case p.Type != corev1.SeccompProfileTypeLocalhost:
	case p.LocalhostProfile == nil:
		errs = append(errs, field.Required(local, "must be set when seccomp type is Localhost"))
	default:
		errs = append(errs, validateDescending(*p.LocalhostProfile, local)...)
	}
	return errs
}

func validateAppArmor(p *corev1.AppArmorProfile, path *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	local := path.Child("localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			return field.ErrorList{field.Required(local, "must be set when AppArmor type is Localhost")}
		}
		name := strings.TrimSpace(*p.LocalhostProfile)
		if name != *p.LocalhostProfile {
			errs = append(errs, field.Invalid(local, *p.LocalhostProfile, "must not be padded with whitespace"))
		} else if name == "" {
			errs = append(errs, field.Required(local, "must be set when AppArmor type is Localhost"))
		}
		if len(*p.LocalhostProfile) > 4095 {
			errs = append(errs, field.TooLong(local, *p.LocalhostProfile, 4095))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			errs = append(errs, field.Invalid(local, p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
		}
	case "":
		errs = append(errs, field.Required(path.Child("type"), "type is required when appArmorProfile is set"))
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), p.Type, []corev1.AppArmorProfileType{corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined}))
	}
	return errs
}

func (c *checker) checkHostUsers(path *field.Path) (errs field.ErrorList) {
	if c.spec.HostUsers == nil || *c.spec.HostUsers {
		return nil
	}
	const text = "when `hostUsers` is false"
	if c.spec.HostNetwork {
		errs = append(errs, field.Forbidden(path.Child("hostNetwork"), text))
	}
	if c.spec.HostPID {
		errs = append(errs, field.Forbidden(path.Child("HostPID"), text))
	}
	if c.spec.HostIPC {
		errs = append(errs, field.Forbidden(path.Child("HostIPC"), text))
	}
	eachContainer(c.spec, path, func(ctr *corev1.Container, at *field.Path) {
		if len(ctr.VolumeDevices) > 0 {
			errs = append(errs, field.Forbidden(at.Child("volumeDevices"), text))
		}
	})
	return errs
}
