package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

// ValidateTemplate checks a pod template; old is nil on create.
func ValidateTemplate(t, old *corev1.PodTemplateSpec, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, metav1validation.ValidateLabels(t.Labels, path.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, validateAnnotations(t.Annotations, &t.Spec, path.Child("annotations"))...)
	var before *corev1.PodSpec
	if old != nil {
		before = &old.Spec
	}
	errs = append(errs, Validate(&t.Spec, before, path.Child("spec"))...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// checker carries what the checks of one spec share.
type checker struct {
	spec    *corev1.PodSpec
	pod     bool // a pod's own spec, not a template's
	volumes map[string]*corev1.Volume
	claims  []string // names of pod-level resource claims, in order
	old     *corev1.PodSpec
}

// Validate checks a pod spec; old, which is nil on create, lets through what
// was let through before.
func Validate(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	return newChecker(s, old).check(path)
}

func newChecker(s, old *corev1.PodSpec) *checker {
	c := &checker{spec: s, old: old, volumes: map[string]*corev1.Volume{}}
	for i := range s.ResourceClaims {
		if name := s.ResourceClaims[i].Name; name != "" {
			c.claims = append(c.claims, name)
		}
	}
	return c
}

func (c *checker) check(path *field.Path) (errs field.ErrorList) {
	s := c.spec
	errs = append(errs, c.checkVolumes(path.Child("volumes"))...)
	errs = append(errs, validateResourceClaims(s.ResourceClaims, path.Child("resourceClaims"))...)
	errs = append(errs, c.checkContainers(path.Child("containers"))...)
	errs = append(errs, c.checkInitContainers(path.Child("initContainers"))...)
	errs = append(errs, c.checkEphemeralContainers(path.Child("ephemeralContainers"))...)
	errs = append(errs, c.checkPodResources(path.Child("resources"))...)
	errs = append(errs, validate.RequiredEnum(s.RestartPolicy, path.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, validate.RequiredEnum(s.DNSPolicy, path.Child("dnsPolicy"), corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, c.checkHostNetwork(path.Child("containers"))...)
	errs = append(errs, c.checkPodSecurity(path)...)
	errs = append(errs, validateAffinity(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, c.checkDNSConfig(path.Child("dnsConfig"))...)
	for i, g := range s.ReadinessGates {
		errs = append(errs, validate.QualifiedName(string(g.ConditionType), path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	errs = append(errs, validateSchedulingGates(s.SchedulingGates, path.Child("schedulingGates"))...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, c.checkHostProcess(path)...)
	errs = append(errs, c.checkHostUsers(path)...)
	errs = append(errs, c.checkNames(path)...)
	errs = append(errs, ValidateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, c.checkHostAliases(path.Child("hostAliases"))...)
	return append(errs, c.checkRest(path)...)
}

// checkNames checks the fields that name things.
func (c *checker) checkNames(path *field.Path) (errs field.ErrorList) {
	s := c.spec
	subdomain := func(value, name string) {
		if value != "" {
			errs = append(errs, validate.All(path.Child(name), value, apivalidation.NameIsDNSSubdomain(value, false))...)
		}
	}
	label := func(value, name string) {
		if value != "" {
			errs = append(errs, validate.DNSLabel(value, path.Child(name))...)
		}
	}
	subdomain(s.ServiceAccountName, "serviceAccountName")
	subdomain(s.NodeName, "nodeName")
	if d := s.ActiveDeadlineSeconds; d != nil {
		if *d < 1 || *d > 1<<31-1 {
			errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, 1<<31-1)))
		}
	}
	label(s.Hostname, "hostname")
	label(s.Subdomain, "subdomain")
	if o := s.HostnameOverride; o != nil {
		errs = append(errs, c.checkHostnameOverride(*o, path)...)
	}
	return errs
}

func (c *checker) checkHostnameOverride(name string, path *field.Path) (errs field.ErrorList) {
	at := path.Child("hostnameOverride")
	if c.spec.SetHostnameAsFQDN != nil && *c.spec.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if c.spec.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if len(name) > 64 {
		errs = append(errs, field.TooLong(at, name, 64))
	}
	return append(errs, validate.DNSSubdomain(name, at)...)
}

func (c *checker) checkHostAliases(path *field.Path) (errs field.ErrorList) {
	known := []string{}
	if c.old != nil {
		for _, a := range c.old.HostAliases {
			known = append(known, a.IP)
		}
	}
	for i, a := range c.spec.HostAliases {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i).Child("ip"), a.IP, true, known)...)
		for j, h := range a.Hostnames {
			errs = append(errs, validate.DNSSubdomain(h, path.Index(i).Child("hostnames").Index(j))...)
		}
	}
	return errs
}

// checkRest checks the fields that came last.
func (c *checker) checkRest(path *field.Path) (errs field.ErrorList) {
	s := c.spec
	if s.PriorityClassName != "" {
		errs = append(errs, validate.All(path.Child("priorityClassName"), s.PriorityClassName, apivalidation.NameIsDNSSubdomain(s.PriorityClassName, false))...)
	}
	if s.RuntimeClassName != nil {
		errs = append(errs, validate.All(path.Child("runtimeClassName"), *s.RuntimeClassName, apivalidation.NameIsDNSSubdomain(*s.RuntimeClassName, false))...)
	}
	if p := s.PreemptionPolicy; p != nil {
		errs = append(errs, validate.RequiredEnum(*p, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	if s.Overhead != nil {
		errs = append(errs, ValidateOverhead(s.Overhead, path.Child("overhead"))...)
	}
	if s.OS != nil {
		errs = append(errs, c.checkOS(path)...)
	}
	return append(errs, c.checkFileRefs(path)...)
}

// ValidateOverhead checks what a runtime itself needs.
func ValidateOverhead(list corev1.ResourceList, path *field.Path) field.ErrorList {
	return validateRequirements(&corev1.ResourceRequirements{Limits: list}, nil, path, validateContainerResourceName)
}

func (c *checker) checkOS(path *field.Path) (errs field.ErrorList) {
	switch c.spec.OS.Name {
	case "":
		return field.ErrorList{field.Required(path.Child("os", "name"), "")}
	case corev1.Linux:
		return c.checkLinux(path)
	case corev1.Windows:
		return c.checkWindows(path)
	}
	return field.ErrorList{field.NotSupported(path.Child("os"), c.spec.OS.Name, []corev1.OSName{corev1.Linux, corev1.Windows})}
}

func validateSchedulingGates(gates []corev1.PodSchedulingGate, path *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, g := range gates {
		errs = append(errs, validate.QualifiedName(g.Name, path.Index(i))...)
		if seen[g.Name] {
			errs = append(errs, field.Duplicate(path.Index(i), g.Name))
		}
		seen[g.Name] = true
	}
	return errs
}

func validateResourceClaims(claims []corev1.PodResourceClaim, path *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, claim := range claims {
		at := path.Index(i)
		switch {
		case claim.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case seen[claim.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), claim.Name))
		default:
			errs = append(errs, validate.DNSLabel(claim.Name, at.Child("name"))...)
			seen[claim.Name] = true
		}
		byName, byTemplate := claim.ResourceClaimName, claim.ResourceClaimTemplateName
		if byName != nil && byTemplate != nil {
			errs = append(errs, field.Invalid(at, untagged(claim), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		}
		if byName == nil && byTemplate == nil {
			errs = append(errs, field.Invalid(at, untagged(claim), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		if byName != nil {
			errs = append(errs, validate.DNSSubdomain(*byName, at.Child("resourceClaimName"))...)
		}
		if byTemplate != nil {
			errs = append(errs, validate.DNSSubdomain(*byTemplate, at.Child("resourceClaimTemplateName"))...)
		}
	}
	return errs
}
