package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Admission is which admission plugins check requests, and their configuration.
type Admission struct {
	Enable     []string // beside those that are on by default
	Disable    []string // of those that are on by default
	ConfigFile string   // an apiserver.config.k8s.io/v1 AdmissionConfiguration; "" leaves every plugin its defaults
}

// AdmissionPlugins lists the admission plugins in the order they run in, with
// upstream's names. Each is on by default.
func AdmissionPlugins() []string {
	return []string{
		"NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition", "PodSecurity", "Priority",
		"DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection", "PersistentVolumeClaimResize", "RuntimeClass",
		"CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest", "CertificateSubjectRestriction", "DefaultIngressClass",
		"PodTopologyLabels", "PodResizeValidator",
		"MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
	}
}

// gated are plugins of upstream's that do nothing in this version: what they
// look after stands behind a feature gate that is off. Naming them is no error.
var gated = [...]string{"PodGroupProtection"}

// Enabled says whether a plugin runs.
func (a *Admission) Enabled(plugin string) bool { return !slices.Contains(a.Disable, plugin) }

func (c *Config) validateAdmission() error {
	a := &c.Admission
	for _, list := range []struct {
		key   string
		names []string
	}{{"enable-admission-plugins", a.Enable}, {"disable-admission-plugins", a.Disable}} {
		for _, name := range list.names {
			if !slices.Contains(AdmissionPlugins(), name) && !slices.Contains(gated[:], name) {
				return &Error{list.key, fmt.Sprintf("there is no plugin %q", name), "choose among " + strings.Join(AdmissionPlugins(), ", ")}
			}
		}
	}
	for _, name := range a.Enable {
		if slices.Contains(a.Disable, name) {
			return &Error{"disable-admission-plugins", name + " is in enable-admission-plugins too", "name it in one of the two"}
		}
	}
	if a.ConfigFile != "" && !filepath.IsAbs(a.ConfigFile) {
		return &Error{"admission-control-config-file", fmt.Sprintf("%q is not an absolute path", a.ConfigFile), "give a path that begins with /"}
	}
	return nil
}
