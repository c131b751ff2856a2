package podspec

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

var (
	controlCharacters = regexp.MustCompile(`[[:cntrl:]]+`)
	windowsNetBIOS    = regexp.MustCompile(`^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$`)
	windowsDNS        = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9\-]*(\.[a-zA-Z0-9\-]+)*$`)
	windowsUser       = regexp.MustCompile(`^[^\\/:;|=,+*?<>\[\]"@]*$`)
	dotsOrSpaces      = regexp.MustCompile(`^[. ]+$`)
)

func validateWindowsOptions(o *corev1.WindowsSecurityContextOptions, path *field.Path) (errs field.ErrorList) {
	if o == nil {
		return nil
	}
	if n := o.GMSACredentialSpecName; n != nil {
		errs = append(errs, validate.All(path.Child("gmsaCredentialSpecName"), *n, validation.IsDNS1123Subdomain(*n))...)
	}
	if s := o.GMSACredentialSpec; s != nil {
		at := path.Child("gmsaCredentialSpec")
		if len(*s) == 0 {
			errs = append(errs, field.Invalid(at, *s, "gmsaCredentialSpec cannot be an empty string"))
		} else if len(*s) > 64*1024 {
			errs = append(errs, field.Invalid(at, *s, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", 64)))
		}
	}
	if n := o.RunAsUserName; n != nil {
		errs = append(errs, validateWindowsUser(*n, path.Child("runAsUserName"))...)
	}
	return errs
}

// validateWindowsUser checks USER or DOMAIN\USER.
func validateWindowsUser(name string, at *field.Path) field.ErrorList {
	invalid := func(text string) field.ErrorList { return field.ErrorList{field.Invalid(at, name, text)} }
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		return invalid("runAsUserName cannot be an empty string")
	case controlCharacters.MatchString(name):
		return invalid("runAsUserName cannot contain control characters")
	case len(parts) > 2:
		return invalid("runAsUserName cannot contain more than one backslash")
	}
	var errs field.ErrorList
	domain, user := "", parts[0]
	if len(parts) == 2 {
		domain, user = parts[0], parts[1]
		if len(domain) >= 256 {
			errs = append(errs, invalid("runAsUserName's Domain length must be under 256 characters")...)
		}
		if !windowsNetBIOS.MatchString(domain) && !windowsDNS.MatchString(domain) {
			errs = append(errs, invalid("runAsUserName's Domain doesn't match the NetBios nor the DNS format")...)
		}
	}
	switch n := utf8.RuneCountInString(user); {
	case n == 0:
		errs = append(errs, invalid("runAsUserName's User cannot be empty")...)
	case n > 104:
		errs = append(errs, invalid("runAsUserName's User length must not be longer than 104 characters")...)
	}
	if dotsOrSpaces.MatchString(user) {
		errs = append(errs, invalid(`runAsUserName's User cannot contain only periods or spaces`)...)
	}
	if !windowsUser.MatchString(user) {
		errs = append(errs, invalid(`runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)...)
	}
	return errs
}

// checkHostProcess checks that Windows' host processes are all or none of a pod.
func (c *checker) checkHostProcess(path *field.Path) (errs field.ErrorList) {
	var pod *bool
	if s := c.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		pod = s.WindowsOptions.HostProcess
	}
	on, off := false, false
	eachContainer(c.spec, path, func(ctr *corev1.Container, at *field.Path) {
		var own *bool
		if s := ctr.SecurityContext; s != nil && s.WindowsOptions != nil {
			own = s.WindowsOptions.HostProcess
		}
		if pod != nil && own != nil && *pod != *own {
			errs = append(errs, field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own, fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *pod)))
		}
		if own == nil {
			own = pod
		}
		if own != nil && *own {
			on = true
		} else {
			off = true
		}
	})
	if !on {
		return errs
	}
	if off {
		errs = append(errs, field.Invalid(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if !c.spec.HostNetwork {
		errs = append(errs, field.Invalid(path.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}

// eachContainer visits init, main and ephemeral containers with their paths.
func eachContainer(s *corev1.PodSpec, path *field.Path, visit func(*corev1.Container, *field.Path)) {
	for i := range s.InitContainers {
		visit(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		visit(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		visit(&c, path.Child("ephemeralContainers").Index(i))
	}
}

// checkLinux refuses Windows' options in a pod for Linux.
func (c *checker) checkLinux(path *field.Path) (errs field.ErrorList) {
	const text = "windows options cannot be set for a linux pod"
	if s := c.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		errs = append(errs, field.Forbidden(path.Child("securityContext", "windowsOptions"), text))
	}
	eachContainer(c.spec, path, func(ctr *corev1.Container, at *field.Path) {
		if ctr.SecurityContext != nil && ctr.SecurityContext.WindowsOptions != nil {
			errs = append(errs, field.Forbidden(at.Child("securityContext", "windowsOptions"), text))
		}
	})
	return errs
}

// checkWindows refuses Linux' options in a pod for Windows.
func (c *checker) checkWindows(path *field.Path) (errs field.ErrorList) {
	forbid := func(at *field.Path, name string, set bool) {
		if set {
			errs = append(errs, field.Forbidden(at.Child(name), "cannot be set for a windows pod"))
		}
	}
	s := c.spec
	if sc := s.SecurityContext; sc != nil {
		at := path.Child("securityContext")
		forbid(at, "appArmorProfile", sc.AppArmorProfile != nil)
		forbid(at, "seLinuxOptions", sc.SELinuxOptions != nil)
		forbid(path, "hostUsers", s.HostUsers != nil)
		forbid(path, "hostPID", s.HostPID)
		forbid(path, "hostIPC", s.HostIPC)
		forbid(at, "seccompProfile", sc.SeccompProfile != nil)
		forbid(at, "fsGroup", sc.FSGroup != nil)
		forbid(at, "fsGroupChangePolicy", sc.FSGroupChangePolicy != nil)
		forbid(at, "sysctls", len(sc.Sysctls) > 0)
		forbid(path, "shareProcessNamespace", s.ShareProcessNamespace != nil)
		forbid(at, "runAsUser", sc.RunAsUser != nil)
		forbid(at, "runAsGroup", sc.RunAsGroup != nil)
		forbid(at, "supplementalGroups", sc.SupplementalGroups != nil)
		forbid(at, "supplementalGroupsPolicy", sc.SupplementalGroupsPolicy != nil)
	}
	eachContainer(s, path, func(ctr *corev1.Container, base *field.Path) {
		sc, at := ctr.SecurityContext, base.Child("securityContext")
		if sc == nil {
			return
		}
		forbid(at, "appArmorProfile", sc.AppArmorProfile != nil)
		forbid(at, "seLinuxOptions", sc.SELinuxOptions != nil)
		forbid(at, "seccompProfile", sc.SeccompProfile != nil)
		forbid(at, "capabilities", sc.Capabilities != nil)
		forbid(at, "readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil)
		forbid(at, "privileged", sc.Privileged != nil)
		forbid(at, "allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil)
		forbid(at, "procMount", sc.ProcMount != nil)
		forbid(at, "runAsUser", sc.RunAsUser != nil)
		forbid(at, "runAsGroup", sc.RunAsGroup != nil)
	})
	return errs
}
