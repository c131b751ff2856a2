package podspec

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/validate"
)

func validateAffinity(a *corev1.Affinity, path *field.Path) (errs field.ErrorList) {
	if a == nil {
		return nil
	}
	if n := a.NodeAffinity; n != nil {
		at := path.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			errs = append(errs, ValidateNodeSelector(n.RequiredDuringSchedulingIgnoredDuringExecution, at.Child("requiredDuringSchedulingIgnoredDuringExecution"))...)
		}
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			p := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			errs = append(errs, validateWeight(t.Weight, p)...)
			errs = append(errs, validateNodeTerm(&t.Preference, false, p.Child("preference"))...)
		}
	}
	if p := a.PodAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))...)
	}
	if p := a.PodAntiAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))...)
	}
	return errs
}

func validateWeight(w int32, path *field.Path) field.ErrorList {
	if w <= 0 || w > 100 {
		return field.ErrorList{field.Invalid(path.Child("weight"), w, "must be in the range 1-100")}
	}
	return nil
}

// ValidateNodeSelector checks a selector of nodes (pods, volumes, claims).
func ValidateNodeSelector(s *corev1.NodeSelector, path *field.Path) (errs field.ErrorList) {
	terms := path.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(terms, "must have at least one node selector term")}
	}
	for i := range s.NodeSelectorTerms {
		errs = append(errs, validateNodeTerm(&s.NodeSelectorTerms[i], true, terms.Index(i))...)
	}
	return errs
}

// validateNodeTerm checks a term; the values of a mere preference are taken as they come.
func validateNodeTerm(t *corev1.NodeSelectorTerm, values bool, path *field.Path) (errs field.ErrorList) {
	for i, r := range t.MatchExpressions {
		errs = append(errs, validateNodeRequirement(r, values, path.Child("matchExpressions").Index(i))...)
	}
	for i, r := range t.MatchFields {
		errs = append(errs, validateNodeField(r, path.Child("matchFields").Index(i))...)
	}
	return errs
}

func validateNodeRequirement(r corev1.NodeSelectorRequirement, values bool, path *field.Path) (errs field.ErrorList) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(path.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Forbidden(path.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(path.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	errs = append(errs, validate.QualifiedName(r.Key, path.Child("key"))...)
	for i, v := range r.Values {
		if values {
			errs = append(errs, validate.All(path.Child("values").Index(i), v, validation.IsValidLabelValue(v))...)
		}
	}
	return errs
}

func validateNodeField(r corev1.NodeSelectorRequirement, path *field.Path) (errs field.ErrorList) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(path.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	if r.Key != "metadata.name" {
		return append(errs, field.Invalid(path.Child("key"), r.Key, "not a valid field selector key"))
	}
	for i, v := range r.Values {
		errs = append(errs, validate.All(path.Child("values").Index(i), v, apivalidation.NameIsDNSSubdomain(v, false))...)
	}
	return errs
}

func validatePodTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, path *field.Path) (errs field.ErrorList) {
	for i := range required {
		errs = append(errs, validatePodTerm(&required[i], path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))...)
	}
	for i := range preferred {
		at := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		errs = append(errs, validateWeight(preferred[i].Weight, at)...)
		errs = append(errs, validatePodTerm(&preferred[i].PodAffinityTerm, at.Child("podAffinityTerm"))...)
	}
	return errs
}

func validatePodTerm(t *corev1.PodAffinityTerm, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateSelector(t.LabelSelector, path.Child("labelSelector"))...)
	errs = append(errs, validateSelector(t.NamespaceSelector, path.Child("namespaceSelector"))...)
	for _, ns := range t.Namespaces {
		errs = append(errs, validate.All(path.Child("namespace"), ns, apivalidation.ValidateNamespaceName(ns, false))...)
	}
	errs = append(errs, validateMatchKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, path)...)
	if t.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, validate.QualifiedName(t.TopologyKey, path.Child("topologyKey"))...)
}

func validateSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

// validateMatchKeys checks the keys whose values a selector takes over from the
// pod's own labels, once they were merged into it.
func validateMatchKeys(match, mismatch []string, s *metav1.LabelSelector, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateLabelKeys(match, s, path.Child("matchLabelKeys"))...)
	errs = append(errs, validateLabelKeys(mismatch, s, path.Child("mismatchLabelKeys"))...)
	errs = append(errs, mergedKeys(match, s, path)...)
	for i, k := range match {
		if slices.Contains(mismatch, k) {
			errs = append(errs, field.Invalid(path.Child("matchLabelKeys").Index(i), k, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return errs
}

func validateLabelKeys(keys []string, s *metav1.LabelSelector, at *field.Path) (errs field.ErrorList) {
	if len(keys) > 0 && s == nil {
		return field.ErrorList{field.Forbidden(at, "must not be specified when labelSelector is not set")}
	}
	for i, k := range keys {
		errs = append(errs, validate.QualifiedName(k, at.Index(i))...)
	}
	return errs
}

// mergedKeys refuses a matchLabelKey that the selector names more than once:
// one of its requirements came from the key itself, the other from the user.
func mergedKeys(keys []string, s *metav1.LabelSelector, path *field.Path) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	index, named := map[string]int{}, map[string]bool{}
	for i, k := range keys {
		index[k] = i
	}
	for k := range s.MatchLabels {
		named[k] = true
	}
	for _, e := range s.MatchExpressions {
		if i, ok := index[e.Key]; ok && named[e.Key] {
			errs = append(errs, field.Invalid(path.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector"))
		}
		named[e.Key] = true
	}
	return errs
}

func validateSpread(list []corev1.TopologySpreadConstraint, path *field.Path) (errs field.ErrorList) {
	for i := range list {
		t, at := &list[i], path.Index(i)
		if t.MaxSkew <= 0 {
			errs = append(errs, field.Invalid(at.Child("maxSkew"), int64(t.MaxSkew), "must be greater than zero"))
		}
		if t.TopologyKey == "" {
			errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
		}
		errs = append(errs, validate.Enum(t.WhenUnsatisfiable, at.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
		if slices.ContainsFunc(list[i+1:], func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == t.TopologyKey && o.WhenUnsatisfiable == t.WhenUnsatisfiable
		}) {
			errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", t.TopologyKey, t.WhenUnsatisfiable)))
		}
		errs = append(errs, validateMinDomains(t, at.Child("minDomains"))...)
		errs = append(errs, validateInclusion(t.NodeAffinityPolicy, at.Child("nodeAffinityPolicy"))...)
		errs = append(errs, validateInclusion(t.NodeTaintsPolicy, at.Child("nodeTaintsPolicy"))...)
		errs = append(errs, validateMatchKeys(t.MatchLabelKeys, nil, t.LabelSelector, at)...)
		errs = append(errs, validateSelector(t.LabelSelector, at.Child("labelSelector"))...)
	}
	return errs
}

func validateInclusion(p *corev1.NodeInclusionPolicy, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return validate.Enum(*p, at, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
}

func validateMinDomains(t *corev1.TopologySpreadConstraint, path *field.Path) (errs field.ErrorList) {
	n := t.MinDomains
	if n == nil {
		return nil
	}
	if *n <= 0 {
		errs = append(errs, field.Invalid(path, *n, "must be greater than zero"))
	}
	if t.WhenUnsatisfiable != corev1.DoNotSchedule {
		errs = append(errs, field.Invalid(path, *n, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, t.WhenUnsatisfiable)))
	}
	return errs
}

// ValidateTolerations checks which taints a pod tolerates.
func ValidateTolerations(list []corev1.Toleration, path *field.Path) (errs field.ErrorList) {
	for i, t := range list {
		at := path.Index(i)
		if t.Key != "" {
			errs = append(errs, validate.QualifiedName(t.Key, at.Child("key"))...)
		}
		if t.Key == "" && t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if msgs := validation.IsValidLabelValue(t.Value); len(msgs) != 0 {
				errs = append(errs, field.Invalid(at.Child("operator"), t.Value, joinMessages(msgs)))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("operator"), untagged(t), "value must be empty when `operator` is 'Exists'"))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			errs = append(errs, validate.Enum(t.Effect, at.Child("effect"), corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		}
	}
	return errs
}

func joinMessages(msgs []string) string {
	out := msgs[0]
	for _, m := range msgs[1:] {
		out += ";" + m
	}
	return out
}

func (c *checker) checkDNSConfig(path *field.Path) (errs field.ErrorList) {
	d := c.spec.DNSConfig
	if c.spec.DNSPolicy == corev1.DNSNone && (d == nil || len(d.Nameservers) == 0) {
		if d == nil {
			return field.ErrorList{field.Required(path, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))}
		}
		errs = append(errs, field.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
	}
	if d == nil {
		return errs
	}
	if len(d.Nameservers) > 3 {
		errs = append(errs, field.Invalid(path.Child("nameservers"), d.Nameservers, fmt.Sprintf("must not have more than %v nameservers", 3)))
	}
	var known []string
	if c.old != nil && c.old.DNSConfig != nil {
		known = c.old.DNSConfig.Nameservers
	}
	for i, ns := range d.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Child("nameservers").Index(i), ns, true, known)...)
	}
	if len(d.Searches) > 32 {
		errs = append(errs, field.Invalid(path.Child("searches"), d.Searches, fmt.Sprintf("must not have more than %v search paths", 32)))
	}
	for i, s := range d.Searches {
		if s != "." {
			errs = append(errs, validateSearch(s, path.Child("searches").Index(i))...)
		}
	}
	for i, o := range d.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func validateSearch(s string, path *field.Path) field.ErrorList {
	name := s
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	return validate.All(path, s, validation.IsDNS1123SubdomainWithUnderscore(name))
}
