package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func (c *checker) checkContainers(path *field.Path) (errs field.ErrorList) {
	if len(c.spec.Containers) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	names := map[string]bool{}
	for i := range c.spec.Containers {
		ctr, at := &c.spec.Containers[i], path.Index(i)
		errs = append(errs, c.checkContainer(ctr, at)...)
		if names[ctr.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), ctr.Name))
		}
		names[ctr.Name] = true
		errs = append(errs, c.checkHandlers(ctr, at)...)
		errs = append(errs, validateRestart(ctr, at)...)
	}
	return append(errs, hostPortConflicts(c.spec.Containers, path)...)
}

// checkHandlers checks the hooks and probes of a container that keeps running.
func (c *checker) checkHandlers(ctr *corev1.Container, at *field.Path) (errs field.ErrorList) {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if c.spec.TerminationGracePeriodSeconds != nil {
		grace = *c.spec.TerminationGracePeriodSeconds
	}
	if l := ctr.Lifecycle; l != nil {
		if l.PostStart != nil {
			errs = append(errs, validateHook(l.PostStart, grace, at.Child("lifecycle", "postStart"))...)
		}
		if l.PreStop != nil {
			errs = append(errs, validateHook(l.PreStop, grace, at.Child("lifecycle", "preStop"))...)
		}
	}
	errs = append(errs, validateSteadyProbe(ctr.LivenessProbe, at.Child("livenessProbe"))...)
	if p := ctr.ReadinessProbe; p != nil {
		errs = append(errs, validateProbe(p, at.Child("readinessProbe"))...)
		if p.TerminationGracePeriodSeconds != nil {
			errs = append(errs, field.Invalid(at.Child("readinessProbe", "terminationGracePeriodSeconds"), p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
		}
	}
	return append(errs, validateSteadyProbe(ctr.StartupProbe, at.Child("startupProbe"))...)
}

func (c *checker) checkInitContainers(path *field.Path) (errs field.ErrorList) {
	names := map[string]bool{}
	for _, ctr := range c.spec.Containers {
		names[ctr.Name] = true
	}
	for i := range c.spec.InitContainers {
		ctr, at := &c.spec.InitContainers[i], path.Index(i)
		errs = append(errs, c.checkContainer(ctr, at)...)
		if ctr.Name != "" && names[ctr.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), ctr.Name))
		}
		names[ctr.Name] = true
		errs = append(errs, hostPortConflicts(c.spec.InitContainers[i:i+1], path)...)
		errs = append(errs, validateRestart(ctr, at)...)
		if ctr.RestartPolicy != nil && *ctr.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			errs = append(errs, c.checkHandlers(ctr, at)...)
		} else {
			errs = append(errs, forbidHandlers(ctr, at)...)
		}
	}
	return errs
}

// forbidHandlers refuses hooks and probes of a container that runs to its end.
func forbidHandlers(ctr *corev1.Container, at *field.Path) (errs field.ErrorList) {
	const text = "may not be set for init containers without restartPolicy=Always"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", ctr.Lifecycle != nil},
		{"livenessProbe", ctr.LivenessProbe != nil},
		{"readinessProbe", ctr.ReadinessProbe != nil},
		{"startupProbe", ctr.StartupProbe != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), text))
		}
	}
	return errs
}

// checkContainer checks what every kind of container has.
func (c *checker) checkContainer(ctr *corev1.Container, at *field.Path) (errs field.ErrorList) {
	if ctr.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, validate.DNSLabel(ctr.Name, at.Child("name"))...)
	}
	// a template's image may be filled in later; a pod's may not have to be trimmed
	if ctr.Image == "" {
		errs = append(errs, field.Required(at.Child("image"), ""))
	} else if c.pod && strings.TrimSpace(ctr.Image) != ctr.Image {
		errs = append(errs, field.Invalid(at.Child("image"), ctr.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, validate.RequiredEnum(ctr.TerminationMessagePolicy, at.Child("terminationMessagePolicy"), corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validatePorts(ctr.Ports, at.Child("ports"))...)
	errs = append(errs, validateEnv(ctr.Env, at.Child("env"))...)
	errs = append(errs, validateEnvFrom(ctr.EnvFrom, at.Child("envFrom"))...)
	errs = append(errs, c.checkMounts(ctr, at.Child("volumeMounts"))...)
	errs = append(errs, c.checkDevices(ctr, at.Child("volumeDevices"))...)
	errs = append(errs, validate.RequiredEnum(ctr.ImagePullPolicy, at.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateRequirements(&ctr.Resources, c.claims, at.Child("resources"), validateContainerResourceName)...)
	errs = append(errs, c.checkResizePolicy(ctr.ResizePolicy, at.Child("resizePolicy"))...)
	return append(errs, c.checkSecurity(ctr.SecurityContext, at.Child("securityContext"))...)
}

// validateRestart checks a container's own restart policy and its rules.
func validateRestart(ctr *corev1.Container, at *field.Path) (errs field.ErrorList) {
	if p := ctr.RestartPolicy; p != nil {
		errs = append(errs, validate.Enum(*p, at.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	} else if len(ctr.RestartPolicyRules) > 0 {
		errs = append(errs, field.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	if n := len(ctr.RestartPolicyRules); n > 20 {
		errs = append(errs, field.TooMany(at.Child("restartPolicyRules"), n, 20))
	}
	for i, r := range ctr.RestartPolicyRules {
		path := at.Child("restartPolicyRules").Index(i)
		errs = append(errs, validate.Enum(r.Action, path.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if r.ExitCodes == nil {
			errs = append(errs, field.Required(path.Child("exitCodes"), "must be specified"))
			continue
		}
		codes := path.Child("exitCodes")
		errs = append(errs, validate.Enum(r.ExitCodes.Operator, codes.Child("operator"), corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(r.ExitCodes.Values); n > 255 {
			errs = append(errs, field.TooMany(codes.Child("values"), n, 255))
		}
	}
	return errs
}

func validatePorts(ports []corev1.ContainerPort, path *field.Path) (errs field.ErrorList) {
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if msgs := validation.IsValidPortName(p.Name); len(msgs) != 0 {
				errs = append(errs, validate.All(at.Child("name"), p.Name, msgs)...)
			} else if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names[p.Name] = true
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, validate.Port(p.ContainerPort, at.Child("containerPort"))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, validate.Port(p.HostPort, at.Child("hostPort"))...)
		}
		errs = append(errs, validate.RequiredEnum(p.Protocol, at.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
	}
	return errs
}

// hostPortConflicts finds ports of the host that two containers want.
func hostPortConflicts(containers []corev1.Container, path *field.Path) (errs field.ErrorList) {
	taken := map[string]bool{}
	for i := range containers {
		for j, p := range containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			id := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			if taken[id] {
				errs = append(errs, field.Duplicate(path.Index(i).Child("ports").Index(j).Child("hostPort"), id))
			}
			taken[id] = true
		}
	}
	return errs
}

// checkHostNetwork checks that ports of a pod in the host's network are the host's.
func (c *checker) checkHostNetwork(path *field.Path) (errs field.ErrorList) {
	if !c.spec.HostNetwork {
		return nil
	}
	for i := range c.spec.Containers {
		for j, p := range c.spec.Containers[i].Ports {
			if p.HostPort != 0 && p.HostPort != p.ContainerPort {
				errs = append(errs, field.Invalid(path.Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}
