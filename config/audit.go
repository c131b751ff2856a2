package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Audit is which requests are recorded, and where to. Nothing is recorded
// without a policy.
type Audit struct {
	PolicyFile string // an audit.k8s.io/v1 Policy
	Log        AuditLog
	Webhook    AuditWebhook
}

// AuditLog writes events to a file.
type AuditLog struct {
	Path             string // "-" is standard output
	MaxAgeDays       int    // 0 keeps rotated files of any age
	MaxBackups       int    // 0 keeps any number of rotated files
	MaxSizeMegabytes int    // 0 never rotates
	Compress         bool   // rotated files
	Format           string // "json" or "legacy"
	Version          string // of the events
	Delivery         AuditDelivery
}

// AuditWebhook sends events to a service.
type AuditWebhook struct {
	ConfigFile     string        // a kubeconfig
	InitialBackoff time.Duration // before a failed request is repeated
	Version        string        // of the events
	Delivery       AuditDelivery
}

// AuditDelivery is how events reach their destination.
type AuditDelivery struct {
	Mode     string // "batch", "blocking" or "blocking-strict"
	Batch    AuditBatch
	Truncate AuditTruncate
}

// AuditBatch is in force in mode "batch".
type AuditBatch struct {
	BufferSize     int // events
	MaxSize        int // events
	MaxWait        time.Duration
	ThrottleEnable bool
	ThrottleQPS    float32 // batches a second
	ThrottleBurst  int     // batches
}

// AuditTruncate leaves bodies out of events that are too large.
type AuditTruncate struct {
	Enabled       bool
	MaxBatchBytes int64
	MaxEventBytes int64
}

const auditVersion = "audit.k8s.io/v1"

// DefaultAudit answers upstream's defaults.
func DefaultAudit() Audit {
	truncate := AuditTruncate{MaxBatchBytes: 10 << 20, MaxEventBytes: 100 << 10}
	return Audit{
		Log: AuditLog{
			MaxAgeDays: 366, MaxBackups: 100, MaxSizeMegabytes: 100, Format: "json", Version: auditVersion,
			Delivery: AuditDelivery{Mode: "blocking", Batch: AuditBatch{BufferSize: 10000, MaxSize: 1}, Truncate: truncate},
		},
		Webhook: AuditWebhook{
			InitialBackoff: 10 * time.Second, Version: auditVersion,
			Delivery: AuditDelivery{
				Mode:     "batch",
				Batch:    AuditBatch{BufferSize: 10000, MaxSize: 400, MaxWait: 30 * time.Second, ThrottleEnable: true, ThrottleQPS: 10, ThrottleBurst: 15},
				Truncate: truncate,
			},
		},
	}
}

func (c *Config) validateAudit() error {
	a := &c.Audit
	for key, path := range map[string]string{"audit-policy-file": a.PolicyFile, "audit-webhook-config-file": a.Webhook.ConfigFile, "audit-log-path": a.Log.Path} {
		if path != "" && path != "-" && !filepath.IsAbs(path) {
			return &Error{key, fmt.Sprintf("%q is not an absolute path", path), "give a path that begins with /"}
		}
	}
	if err := a.Log.validate(); err != nil {
		return err
	}
	if a.Webhook.ConfigFile == "" {
		return nil
	}
	return a.Webhook.Delivery.validate("audit-webhook", a.Webhook.Version)
}

func (l *AuditLog) validate() error {
	if l.Path == "" {
		return nil
	}
	for key, n := range map[string]int{"audit-log-maxage": l.MaxAgeDays, "audit-log-maxbackup": l.MaxBackups, "audit-log-maxsize": l.MaxSizeMegabytes} {
		if n < 0 {
			return &Error{key, fmt.Sprintf("%d is negative", n), "give a number from 0 on; 0 sets no limit"}
		}
	}
	if l.Format != "json" && l.Format != "legacy" {
		return &Error{"audit-log-format", fmt.Sprintf("%q is not known", l.Format), "use json or legacy"}
	}
	return l.Delivery.validate("audit-log", l.Version)
}

func (d *AuditDelivery) validate(prefix, version string) error {
	if version != auditVersion {
		return &Error{prefix + "-version", fmt.Sprintf("%q is not known", version), "use " + auditVersion}
	}
	if modes := []string{"batch", "blocking", "blocking-strict"}; !slices.Contains(modes, d.Mode) {
		return &Error{prefix + "-mode", fmt.Sprintf("%q is not known", d.Mode), "use " + strings.Join(modes, ", ")}
	}
	if err := positive(prefix+"-truncate-max-event-size", d.Truncate.MaxEventBytes); err != nil {
		return err
	}
	if d.Truncate.MaxBatchBytes < d.Truncate.MaxEventBytes {
		return &Error{prefix + "-truncate-max-batch-size", "is less than the size of an event", fmt.Sprintf("give at least %d", d.Truncate.MaxEventBytes)}
	}
	if d.Mode != "batch" {
		return nil
	}
	return d.Batch.validate(prefix + "-batch-")
}

func (b *AuditBatch) validate(prefix string) error {
	if err := positive(prefix+"buffer-size", b.BufferSize); err != nil {
		return err
	}
	if err := positive(prefix+"max-size", b.MaxSize); err != nil || !b.ThrottleEnable {
		return err
	}
	if err := positive(prefix+"throttle-qps", b.ThrottleQPS); err != nil {
		return err
	}
	return positive(prefix+"throttle-burst", b.ThrottleBurst)
}

func positive[N int | int64 | float32](key string, n N) error {
	if n <= 0 {
		return &Error{key, fmt.Sprintf("%v is not positive", n), "give a number above 0"}
	}
	return nil
}
