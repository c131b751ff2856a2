package noderestriction

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
)

func (r request) nodes() error {
	name := r.GetName()
	node, isNode := r.GetObject().(*corev1.Node)
	if r.GetOperation() == admission.Create && isNode {
		if node.Spec.ConfigSource != nil {
			return r.forbid("node %q is not allowed to create pods with a non-nil configSource", r.node)
		}
		if bad := forbiddenLabels(node.Labels, nil); len(bad) > 0 {
			return r.forbid("node %q is not allowed to set the following labels: %s", r.node, strings.Join(bad, ", "))
		}
		if name == "" {
			name = node.Name
		}
	}
	if name != r.node {
		return r.forbid("node %q is not allowed to modify node %q", r.node, name)
	}
	old, ok := r.GetOldObject().(*corev1.Node)
	if r.GetOperation() != admission.Update || !ok || !isNode {
		return nil
	}
	if c := node.Spec.ConfigSource; c != nil && !equality.Semantic.DeepEqual(c, old.Spec.ConfigSource) {
		return r.forbid("node %q is not allowed to update configSource to a new non-nil configSource", r.node)
	}
	if !equality.Semantic.DeepEqual(node.Spec.Taints, old.Spec.Taints) {
		return r.forbid("node %q is not allowed to modify taints", r.node)
	}
	if !equality.Semantic.DeepEqual(node.OwnerReferences, old.OwnerReferences) {
		return r.forbid("node %q is not allowed to modify ownerReferences", r.node)
	}
	if bad := forbiddenLabels(node.Labels, old.Labels); len(bad) > 0 {
		return r.forbid("is not allowed to modify labels: %s", strings.Join(bad, ", "))
	}
	return nil
}

// forbiddenLabels lists the changed labels of Kubernetes' own domains that a
// kubelet may not set on itself, since others trust them.
func forbiddenLabels(now, before map[string]string) []string {
	var out []string
	for key := range changed(now, before) {
		domain, _, ok := strings.Cut(key, "/")
		if !ok {
			continue
		}
		if within(domain, corev1.LabelNamespaceNodeRestriction) || (reserved(domain) && !ofKubelet(key, domain)) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func changed(now, before map[string]string) map[string]string {
	out := maps.Clone(now)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range before {
		if w, ok := now[k]; ok && w == v {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

func reserved(domain string) bool { return within(domain, "kubernetes.io") || within(domain, "k8s.io") }

// ofKubelet lists what kubelets have always set on themselves.
func ofKubelet(key, domain string) bool {
	if within(domain, corev1.LabelNamespaceSuffixKubelet) || within(domain, corev1.LabelNamespaceSuffixNode) {
		return true
	}
	switch key {
	case corev1.LabelHostname, corev1.LabelArchStable, corev1.LabelOSStable,
		corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, corev1.LabelInstanceTypeStable,
		"beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return false
}
