package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skiff/config"
)

// TestPluginOrder holds the chain to the order and the defaults of
// kube-apiserver v1.37, of whose default plugins the two named are missing.
func TestPluginOrder(t *testing.T) {
	upstream := []string{
		"NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition", "PodSecurity", "Priority",
		"DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection", "PodGroupProtection", "PersistentVolumeClaimResize",
		"RuntimeClass", "CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest", "CertificateSubjectRestriction",
		"DefaultIngressClass", "PodTopologyLabels", "NodeDeclaredFeatureValidator", "PodResizeValidator",
		"MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
	}
	missing := []string{
		"PodGroupProtection",           // its feature gate, GenericWorkload, is off
		"NodeDeclaredFeatureValidator", // nodes here declare no features
	}
	want := slices.DeleteFunc(upstream, func(n string) bool { return slices.Contains(missing, n) })
	var got []string
	for _, p := range plugins() {
		got = append(got, p.name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("plugins:\n%v\nwant\n%v", got, want)
	}
	if !slices.Equal(config.AdmissionPlugins(), got) {
		t.Errorf("the configuration knows %v", config.AdmissionPlugins())
	}
}

func TestCheckAdmission(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
	tests := map[string]struct{ file, wrong string }{
		"quota":              {head + "- name: ResourceQuota\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [{resource: pods, matchContains: [pods]}]}\n", ""},
		"pod security":       {head + "- name: PodSecurity\n  configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: baseline}}\n", ""},
		"webhook":            {head + "- name: ValidatingAdmissionWebhook\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: /k}\n", ""},
		"not a file":         {"", "no such file"},
		"not a config":       {"hello: 1\n", "admission-control-config-file"},
		"unknown field":      {head + "- name: ResourceQuota\n  colour: red\n", "colour"},
		"no level":           {head + "- name: PodSecurity\n  configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: mild}}\n", "PodSecurity"},
		"relative":           {head + "- name: MutatingAdmissionWebhook\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: k}\n", "absolute"},
		"static manifests":   {head + "- name: MutatingAdmissionWebhook\n  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, staticManifestsDir: /tmp}\n", "staticManifestsDir"},
		"not configurable":   {head + "- name: LimitRanger\n  configuration: {a: 1}\n", "LimitRanger"},
		"a plugin elsewhere": {head + "- name: EventRateLimit\n  configuration: {a: 1}\n", "EventRateLimit"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "admission.yaml")
			if tc.file != "" {
				if err := os.WriteFile(file, []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := CheckAdmission(config.Admission{ConfigFile: file})
			switch {
			case tc.wrong == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got %v, want one line about %s", err, tc.wrong)
			}
		})
	}
}
