package config

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// validateLabels checks what a node may call itself: labels of Kubernetes' own domains are the cluster's to give, but for
// those that NodeRestriction leaves to kubelets
// (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction).
func (c *Config) validateLabels() error {
	for _, label := range c.NodeLabels {
		key, value, found := strings.Cut(label, "=")
		problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
		if !found || len(problems) > 0 {
			return &Error{"node-labels", fmt.Sprintf("%q is not a label", label), strings.Join(append([]string{"give KEY=VALUE"}, problems...), "; ")}
		}
		if domain, _, ok := strings.Cut(key, "/"); ok && reserved(domain) && !ofKubelets(key, domain) {
			return &Error{"node-labels", fmt.Sprintf("%q is of Kubernetes' own labels, which a node can't give itself", key), "set it with `kubectl label node`, or use a key below node.kubernetes.io/ or kubelet.kubernetes.io/"}
		}
	}
	return nil
}

func reserved(domain string) bool {
	return slices.ContainsFunc([]string{"kubernetes.io", "k8s.io"}, func(parent string) bool { return within(domain, parent) })
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

func ofKubelets(key, domain string) bool {
	return within(domain, "node.kubernetes.io") || within(domain, "kubelet.kubernetes.io") || slices.Contains([]string{
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "node.kubernetes.io/instance-type",
		"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone", "beta.kubernetes.io/instance-type",
	}, key)
}
