package podspec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff/apis/validate"
)

// ValidatePodStatus checks an update of a pod's status.
func ValidatePodStatus(p, old *corev1.Pod) (errs field.ErrorList) {
	path, s, was := field.NewPath("status"), &p.Status, &old.Status
	errs = append(errs, validateStatusAnnotations(p, old)...)
	errs = append(errs, validatePodConditions(s.Conditions, path.Child("conditions"))...)
	errs = append(errs, validateNomination(p, old, path.Child("nominatedNodeName"))...)
	if s.ObservedGeneration < 0 {
		errs = append(errs, field.Invalid(path.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer"))
	}
	errs = append(errs, validate.Unchanged(s.QOSClass, was.QOSClass, path.Child("qosClass"))...)
	errs = append(errs, validateTransitions(s.ContainerStatuses, was.ContainerStatuses, &old.Spec, old.Spec.Containers, path.Child("containerStatuses"))...)
	errs = append(errs, validateTransitions(s.InitContainerStatuses, was.InitContainerStatuses, &old.Spec, old.Spec.InitContainers, path.Child("initContainerStatuses"))...)
	errs = append(errs, validateEnds(s.EphemeralContainerStatuses, was.EphemeralContainerStatuses, path.Child("ephemeralContainerStatuses"), func(*corev1.ContainerStatus) bool { return false })...)
	errs = append(errs, validateClaimStatuses(s.ResourceClaimStatuses, p.Spec.ResourceClaims, path.Child("resourceClaimStatuses"))...)
	errs = append(errs, validateExtendedClaimStatus(s.ExtendedResourceClaimStatus, &p.Spec, path.Child("extendedResourceClaimStatus"))...)
	errs = append(errs, validateIPs(podIPs(was), podIPs(s), s.PodIPs, path.Child("podIPs"))...)
	errs = append(errs, validateFirstPodIP(s, path.Child("podIPs"))...)
	errs = append(errs, validateHostIPs(was, s, path.Child("hostIPs"))...)
	for _, l := range containerStatuses(s, path) {
		errs = append(errs, validateStatusUsers(l.statuses, p.Spec.OS, l.path)...)
	}
	errs = append(errs, validateAllocated(s.ContainerStatuses, p.Spec.Containers, s, path.Child("containerStatuses"))...)
	errs = append(errs, validateAllocated(s.InitContainerStatuses, p.Spec.InitContainers, s, path.Child("initContainerStatuses"))...)
	for i, c := range s.EphemeralContainerStatuses {
		if len(c.AllocatedResourcesStatus) > 0 {
			errs = append(errs, field.Forbidden(path.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status"))
		}
	}
	return errs
}

// DropStatus removes from a pod's status the fields whose feature is off in
// v1.37 by default.
func DropStatus(s *corev1.PodStatus) {
	s.NodeAllocatableResourceClaimStatuses, s.VolumeHealth = nil, nil
	for _, l := range containerStatuses(s, nil) {
		for i := range l.statuses {
			c := &l.statuses[i]
			for j := range c.VolumeMounts {
				c.VolumeMounts[j].VolumeStatus = nil
			}
			for j := range c.AllocatedResourcesStatus {
				for k := range c.AllocatedResourcesStatus[j].Resources {
					c.AllocatedResourcesStatus[j].Resources[k].Message = nil
				}
			}
		}
	}
}

// KeepStatus puts back what a client that doesn't know newer fields took out
// of a pod's status: the quality of service, the claims, what was observed.
func KeepStatus(s, old *corev1.PodStatus) {
	setDefault(&s.QOSClass, old.QOSClass)
	if s.ResourceClaimStatuses == nil {
		s.ResourceClaimStatuses = old.ResourceClaimStatuses
	}
	if s.ExtendedResourceClaimStatus == nil {
		s.ExtendedResourceClaimStatus = old.ExtendedResourceClaimStatus
	}
	setDefault(&s.ObservedGeneration, old.ObservedGeneration)
	observed := map[corev1.PodConditionType][]int64{}
	for _, c := range old.Conditions {
		observed[c.Type] = append(observed[c.Type], c.ObservedGeneration)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if was := observed[c.Type]; len(was) > 0 {
			setDefault(&c.ObservedGeneration, was[0])
			observed[c.Type] = was[1:]
		}
	}
}

type statusList struct {
	statuses []corev1.ContainerStatus
	path     *field.Path
}

func containerStatuses(s *corev1.PodStatus, path *field.Path) []statusList {
	return []statusList{
		{s.ContainerStatuses, path.Child("containerStatuses")},
		{s.InitContainerStatuses, path.Child("initContainerStatuses")},
		{s.EphemeralContainerStatuses, path.Child("ephemeralContainerStatuses")},
	}
}

// validateStatusAnnotations checks annotations, which an update of the status may change.
func validateStatusAnnotations(p, old *corev1.Pod) (errs field.ErrorList) {
	annotations := field.NewPath("metadata", "annotations")
	errs = append(errs, validatePodAnnotations(p, old, annotations)...)
	return append(errs, validateAnnotations(p.Annotations, &p.Spec, annotations)...)
}

func validatePodConditions(list []corev1.PodCondition, path *field.Path) (errs field.ErrorList) {
	for i, c := range list {
		if c.ObservedGeneration < 0 {
			errs = append(errs, field.Invalid(path.Index(i).Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer"))
		}
		if c.Type != corev1.PodScheduled && c.Type != corev1.PodReady && c.Type != corev1.PodInitialized {
			errs = append(errs, validate.QualifiedName(string(c.Type), path.Index(i).Child("Type"))...)
		}
	}
	return errs
}

// validateNomination checks the node that the scheduler plans to use; a bound
// pod has no use for one.
func validateNomination(p, old *corev1.Pod, at *field.Path) (errs field.ErrorList) {
	name := p.Status.NominatedNodeName
	if name == "" || name == old.Status.NominatedNodeName {
		return nil
	}
	errs = append(errs, validate.DNSSubdomain(name, at)...)
	if old.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(at, "may not be set on pods that are already bound to a node"))
	}
	return errs
}

// validateTransitions refuses that a container that ended for good runs again.
func validateTransitions(now, old []corev1.ContainerStatus, s *corev1.PodSpec, containers []corev1.Container, path *field.Path) field.ErrorList {
	if restartsAll(s.InitContainers) || restartsAll(s.Containers) {
		return nil
	}
	return validateEnds(now, old, path, func(c *corev1.ContainerStatus) bool {
		i := slices.IndexFunc(containers, func(o corev1.Container) bool { return o.Name == c.Name })
		return i >= 0 && restarts(&containers[i], s.RestartPolicy, c.State.Terminated.ExitCode)
	})
}

// validateEnds refuses that ended containers run, unless they may.
func validateEnds(now, old []corev1.ContainerStatus, path *field.Path, may func(*corev1.ContainerStatus) bool) (errs field.ErrorList) {
	for i := range old {
		if old[i].State.Terminated == nil {
			continue
		}
		j := slices.IndexFunc(now, func(n corev1.ContainerStatus) bool { return n.Name == old[i].Name })
		if j >= 0 && now[j].State.Terminated == nil && !may(&old[i]) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}

// restartsAll reports whether the end of one of the containers may restart the whole pod.
func restartsAll(containers []corev1.Container) bool {
	return slices.ContainsFunc(containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
			return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		})
	})
}

// restarts reports whether a container that ended so runs again: by a rule of
// its own, by its own policy, else by its pod's.
func restarts(c *corev1.Container, policy corev1.RestartPolicy, code int32) bool {
	if c.RestartPolicy != nil {
		for _, r := range c.RestartPolicyRules {
			if ruleMatches(r, code) {
				return true
			}
		}
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	return policy != corev1.RestartPolicyNever && (policy != corev1.RestartPolicyOnFailure || code != 0)
}

func ruleMatches(r corev1.ContainerRestartRule, code int32) bool {
	if r.ExitCodes == nil || r.Action != corev1.ContainerRestartRuleActionRestart {
		return false
	}
	in := slices.Contains(r.ExitCodes.Values, code)
	return in == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn)
}

func validateClaimStatuses(list []corev1.PodResourceClaimStatus, claims []corev1.PodResourceClaim, path *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, c := range list {
		at := path.Index(i)
		if !slices.ContainsFunc(claims, func(o corev1.PodResourceClaim) bool { return o.Name == c.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		seen[c.Name] = true
		if c.ResourceClaimName != nil {
			errs = append(errs, validate.All(at.Child("resourceClaimName"), c.ResourceClaimName, apivalidation.NameIsDNSSubdomain(*c.ResourceClaimName, false))...)
		}
	}
	return errs
}

// validateExtendedClaimStatus checks the claim that stands for the devices that
// containers ask for as extended resources (KEP-5004).
func validateExtendedClaimStatus(s *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	if len(s.RequestMappings) == 0 {
		errs = append(errs, field.Required(path.Child("requestMappings"), "at least one request mapping is required"))
	}
	containers := map[string]*corev1.Container{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			containers[list[i].Name] = &list[i]
		}
	}
	seen := map[corev1.ContainerExtendedResourceRequest]bool{}
	for i, m := range s.RequestMappings {
		at := path.Child("requestMappings").Index(i)
		if c := containers[m.ContainerName]; c == nil {
			errs = append(errs, field.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name"))
		} else if _, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			errs = append(errs, field.Invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"))
		}
		errs = append(errs, validate.DNSLabel(m.RequestName, path.Child("requestName"))...)
		if seen[m] {
			errs = append(errs, field.Duplicate(at.Child("containerName"), m.ContainerName),
				field.Duplicate(at.Child("resourceName"), m.ResourceName), field.Duplicate(at.Child("requestName"), m.RequestName))
		}
		seen[m] = true
	}
	if s.ResourceClaimName == "" {
		return append(errs, field.Required(path.Child("resourceClaimName"), ""))
	}
	return append(errs, validate.All(path.Child("resourceClaimName"), s.ResourceClaimName, apivalidation.NameIsDNSSubdomain(s.ResourceClaimName, false))...)
}

func podIPs(s *corev1.PodStatus) (out []string) {
	for _, ip := range s.PodIPs {
		out = append(out, ip.IP)
	}
	return out
}

func hostIPs(s *corev1.PodStatus) (out []string) {
	for _, ip := range s.HostIPs {
		out = append(out, ip.IP)
	}
	return out
}

// validateIPs checks addresses, of which there is at most one of each family;
// value is what the message shows.
func validateIPs(old, now []string, value any, path *field.Path) (errs field.ErrorList) {
	for i, ip := range now {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i), ip, true, old)...)
	}
	if len(now) < 2 {
		return errs
	}
	dual, err := netutils.IsDualStackIPStrings(now)
	if err != nil {
		errs = append(errs, field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%w", err)))
	}
	if !dual || len(now) > 2 {
		errs = append(errs, field.Invalid(path, validate.GoNames{Value: value}, "may specify no more than one IP for each IP family"))
	}
	return errs
}

// validateFirstPodIP keeps the older form, of one address, and the list equal.
func validateFirstPodIP(s *corev1.PodStatus, path *field.Path) field.ErrorList {
	switch {
	case (s.PodIP == "") != (len(s.PodIPs) == 0):
		return field.ErrorList{field.Invalid(path, validate.GoNames{Value: s.PodIPs}, "podIP and podIPs must either both be set or both be unset")}
	case len(s.PodIPs) > 0 && s.PodIP != s.PodIPs[0].IP:
		return field.ErrorList{field.Invalid(path.Index(0).Child("ip"), s.PodIPs[0].IP, "must be equal to `podIP`")}
	}
	return nil
}

func validateHostIPs(old, s *corev1.PodStatus, path *field.Path) (errs field.ErrorList) {
	if len(s.HostIPs) > 0 && s.HostIP != s.HostIPs[0].IP {
		errs = append(errs, field.Invalid(path.Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`"))
	}
	return append(errs, validateIPs(hostIPs(old), hostIPs(s), s.HostIPs, path)...)
}

// validateStatusUsers checks the identity that a container's first process has.
func validateStatusUsers(list []corev1.ContainerStatus, system *corev1.PodOS, path *field.Path) (errs field.ErrorList) {
	windows := system != nil && system.Name == corev1.Windows
	for i := range list {
		if list[i].User == nil || list[i].User.Linux == nil {
			continue
		}
		u, at := list[i].User.Linux, path.Index(i).Child("user", "linux")
		if windows {
			errs = append(errs, field.Forbidden(at, "cannot be set for a windows pod"))
			continue
		}
		if u.UID < 0 || u.UID > math.MaxUint32 {
			errs = append(errs, field.Invalid(at.Child("uid"), u.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32))))
		}
		errs = append(errs, validate.All(at.Child("gid"), u.GID, validation.IsValidGroupID(u.GID))...)
		for j, g := range u.SupplementalGroups {
			errs = append(errs, validate.All(at.Child("supplementalGroups").Index(j), g, validation.IsValidGroupID(g))...)
		}
	}
	return errs
}

const claimPrefix = "claim:"

// validateAllocated checks the health of the devices that containers were given.
func validateAllocated(list []corev1.ContainerStatus, containers []corev1.Container, s *corev1.PodStatus, path *field.Path) (errs field.ErrorList) {
	for i := range list {
		k := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == list[i].Name })
		for j, r := range list[i].AllocatedResourcesStatus {
			at := path.Index(i).Child("allocatedResourcesStatus").Index(j)
			if k >= 0 {
				errs = append(errs, validateAllocatedName(r.Name, &containers[k], s, at.Child("name"))...)
			}
			errs = append(errs, validateHealth(r.Resources, at.Child("resources"))...)
		}
	}
	return errs
}

func validateAllocatedName(name corev1.ResourceName, c *corev1.Container, s *corev1.PodStatus, at *field.Path) field.ErrorList {
	if !strings.HasPrefix(string(name), claimPrefix) {
		if _, ok := c.Resources.Requests[name]; ok {
			return nil
		}
		return field.ErrorList{field.Invalid(at, name, "must match one of the container's resource requests")}
	}
	claimed := slices.ContainsFunc(c.Resources.Claims, func(r corev1.ResourceClaim) bool {
		own := claimPrefix + r.Name
		if r.Request != "" {
			own += "/" + r.Request
		}
		return own == string(name)
	})
	if claimed || ofExtendedClaim(string(name), c, s.ExtendedResourceClaimStatus) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, name, "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty")}
}

func ofExtendedClaim(name string, c *corev1.Container, s *corev1.PodExtendedResourceClaimStatus) bool {
	claim, request, _ := strings.Cut(strings.TrimPrefix(name, claimPrefix), "/")
	if s == nil || request == "" || claim != s.ResourceClaimName {
		return false
	}
	return slices.ContainsFunc(s.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
		q := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]
		return m.ContainerName == c.Name && m.RequestName == request && q.Cmp(resource.Quantity{}) != 0
	})
}

func validateHealth(list []corev1.ResourceHealth, path *field.Path) (errs field.ErrorList) {
	seen := map[corev1.ResourceID]bool{}
	for i, r := range list {
		errs = append(errs, validate.Enum(r.Health, path.Index(i).Child("health"), corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)...)
		if seen[r.ResourceID] {
			errs = append(errs, field.Duplicate(path.Index(i).Child("resourceID"), r.ResourceID))
		}
		seen[r.ResourceID] = true
	}
	return errs
}

// StatusWarnings warn of addresses that parsers read differently.
func StatusWarnings(s *corev1.PodStatus) (out []string) {
	for i, ip := range podIPs(s) {
		out = append(out, validation.GetWarningsForIP(field.NewPath("status", "podIPs").Index(i).Child("ip"), ip)...)
	}
	for i, ip := range hostIPs(s) {
		out = append(out, validation.GetWarningsForIP(field.NewPath("status", "hostIPs").Index(i).Child("ip"), ip)...)
	}
	return out
}
