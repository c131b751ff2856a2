package server

import (
	"fmt"
	"strings"

	"k8s.io/apiserver/pkg/audit/policy"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/webhook"

	"skiff/config"
)

// addAudit records requests as the policy says. The three servers share one
// backend, which the outermost runs.
func (s *Server) addAudit(cfg *genericserver.Config) error {
	if err := auditOptions(s.config.Audit).ApplyTo(cfg); err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	return nil
}

// auditOptions are the options in the terms of k8s.io/apiserver.
func auditOptions(a config.Audit) *options.AuditOptions {
	o := options.NewAuditOptions()
	o.PolicyFile = a.PolicyFile
	l := &o.LogOptions
	l.Path, l.Format, l.GroupVersionString = a.Log.Path, a.Log.Format, a.Log.Version
	l.MaxAge, l.MaxBackups, l.MaxSize, l.Compress = a.Log.MaxAgeDays, a.Log.MaxBackups, a.Log.MaxSizeMegabytes, a.Log.Compress
	deliver(a.Log.Delivery, &l.BatchOptions, &l.TruncateOptions)
	w := &o.WebhookOptions
	w.ConfigFile, w.InitialBackoff, w.GroupVersionString = a.Webhook.ConfigFile, a.Webhook.InitialBackoff, a.Webhook.Version
	deliver(a.Webhook.Delivery, &w.BatchOptions, &w.TruncateOptions)
	return o
}

func deliver(d config.AuditDelivery, b *options.AuditBatchOptions, t *options.AuditTruncateOptions) {
	b.Mode = d.Mode
	b.BatchConfig.BufferSize, b.BatchConfig.MaxBatchSize, b.BatchConfig.MaxBatchWait = d.Batch.BufferSize, d.Batch.MaxSize, d.Batch.MaxWait
	b.BatchConfig.ThrottleEnable, b.BatchConfig.ThrottleQPS, b.BatchConfig.ThrottleBurst = d.Batch.ThrottleEnable, d.Batch.ThrottleQPS, d.Batch.ThrottleBurst
	t.Enabled = d.Truncate.Enabled
	t.TruncateConfig.MaxBatchSize, t.TruncateConfig.MaxEventSize = d.Truncate.MaxBatchBytes, d.Truncate.MaxEventBytes
}

// CheckAudit reports the first file of the audit log that can't be used, as a
// *config.Error. It writes nothing.
func CheckAudit(a config.Audit) error {
	if a.PolicyFile != "" {
		if _, err := policy.LoadPolicyFromFile(a.PolicyFile); err != nil {
			return unusable("audit-policy-file", a.PolicyFile, err, "give a readable audit.k8s.io/v1 Policy")
		}
	}
	if a.Webhook.ConfigFile != "" {
		if _, err := webhook.LoadKubeconfig(a.Webhook.ConfigFile, nil); err != nil {
			return unusable("audit-webhook-config-file", a.Webhook.ConfigFile, err, "give a readable kubeconfig of the service")
		}
	}
	return nil
}

// unusable says in one line what is wrong with the file that key names.
func unusable(key, path string, err error, remedy string) error {
	problem := strings.Join(strings.Fields(err.Error()), " ")
	if !strings.Contains(problem, path) {
		problem = path + ": " + problem
	}
	return &config.Error{Key: key, Problem: problem, Remedy: remedy}
}
