package main

import (
	"github.com/spf13/pflag"

	"skiff/config"
)

// bindAudit adds the flags of the audit log. They have upstream's names.
func (s *settings) bindAudit(f *pflag.FlagSet) {
	a := &s.Audit
	f.StringVar(&a.PolicyFile, "audit-policy-file", a.PolicyFile, "Policy file that says which requests are recorded; without it none is")
	l := &a.Log
	f.StringVar(&l.Path, "audit-log-path", l.Path, "file that audit events are written to; - is standard output")
	f.IntVar(&l.MaxAgeDays, "audit-log-maxage", l.MaxAgeDays, "days that rotated audit files are kept; 0 is no limit")
	f.IntVar(&l.MaxBackups, "audit-log-maxbackup", l.MaxBackups, "number of rotated audit files that are kept; 0 is no limit")
	f.IntVar(&l.MaxSizeMegabytes, "audit-log-maxsize", l.MaxSizeMegabytes, "megabytes at which the audit file is rotated; 0 is never")
	f.BoolVar(&l.Compress, "audit-log-compress", l.Compress, "compress rotated audit files")
	f.StringVar(&l.Format, "audit-log-format", l.Format, "form of the events in the file: json, or legacy for a line of text")
	f.StringVar(&l.Version, "audit-log-version", l.Version, "version of the events in the file")
	bindDelivery(f, &l.Delivery, "audit-log")
	w := &a.Webhook
	f.StringVar(&w.ConfigFile, "audit-webhook-config-file", w.ConfigFile, "kubeconfig of a service that audit events are sent to")
	f.DurationVar(&w.InitialBackoff, "audit-webhook-initial-backoff", w.InitialBackoff, "how long to wait before a failed request is repeated")
	f.StringVar(&w.Version, "audit-webhook-version", w.Version, "version of the events that are sent")
	bindDelivery(f, &w.Delivery, "audit-webhook")
}

func bindDelivery(f *pflag.FlagSet, d *config.AuditDelivery, prefix string) {
	f.StringVar(&d.Mode, prefix+"-mode", d.Mode, "how events are handed over: batch, blocking, or blocking-strict to fail requests that can't be recorded")
	b := &d.Batch
	f.IntVar(&b.BufferSize, prefix+"-batch-buffer-size", b.BufferSize, "events that may wait in mode batch")
	f.IntVar(&b.MaxSize, prefix+"-batch-max-size", b.MaxSize, "events in a batch")
	f.DurationVar(&b.MaxWait, prefix+"-batch-max-wait", b.MaxWait, "how long a batch may stay incomplete")
	f.BoolVar(&b.ThrottleEnable, prefix+"-batch-throttle-enable", b.ThrottleEnable, "limit the rate of batches")
	f.Float32Var(&b.ThrottleQPS, prefix+"-batch-throttle-qps", b.ThrottleQPS, "batches a second on average")
	f.IntVar(&b.ThrottleBurst, prefix+"-batch-throttle-burst", b.ThrottleBurst, "batches at once after a pause")
	t := &d.Truncate
	f.BoolVar(&t.Enabled, prefix+"-truncate-enabled", t.Enabled, "leave bodies out of events that are too large")
	f.Int64Var(&t.MaxBatchBytes, prefix+"-truncate-max-batch-size", t.MaxBatchBytes, "bytes of a batch, about")
	f.Int64Var(&t.MaxEventBytes, prefix+"-truncate-max-event-size", t.MaxEventBytes, "bytes of an event; one that is larger without bodies too is dropped")
}

// bindProtection adds the flags of encryption at rest, admission, the limits and profiling. They
// have upstream's names.
func (s *settings) bindProtection(f *pflag.FlagSet) {
	e := &s.Encryption
	f.StringVar(&e.ConfigFile, "encryption-provider-config", e.ConfigFile, "EncryptionConfiguration file that says how objects are encrypted in etcd")
	f.BoolVar(&e.AutomaticReload, "encryption-provider-config-automatic-reload", e.AutomaticReload, "follow changes of that file")
	a := &s.Admission
	f.StringSliceVar(&a.Enable, "enable-admission-plugins", a.Enable, "admission plugins to run beside those that are on by default")
	f.StringSliceVar(&a.Disable, "disable-admission-plugins", a.Disable, "admission plugins not to run")
	f.StringVar(&a.ConfigFile, "admission-control-config-file", a.ConfigFile, "AdmissionConfiguration file with the configuration of plugins")
	l := &s.Limits
	f.IntVar(&l.MaxRequests, "max-requests-inflight", l.MaxRequests, "reads served at once; added to the writes, the seats that priority and fairness shares out")
	f.IntVar(&l.MaxMutatingRequests, "max-mutating-requests-inflight", l.MaxMutatingRequests, "writes served at once")
	f.BoolVar(&l.Fairness, "enable-priority-and-fairness", l.Fairness, "share the server out by flow schemas and priority levels")
	f.DurationVar(&l.RequestTimeout, "request-timeout", l.RequestTimeout, "how long a request may take, watches and other long-running ones aside")
	f.IntVar(&l.MinRequestTimeout, "min-request-timeout", l.MinRequestTimeout, "seconds that a watch lasts at least; at most twice as many")
	f.IntVar(&l.MaxStreams, "http2-max-streams-per-connection", l.MaxStreams, "requests at once on an HTTP/2 connection; 0 is the library's default")
	f.Float64Var(&l.GoawayChance, "goaway-chance", l.GoawayChance, "probability, up to 0.02, that a request makes its HTTP/2 client connect anew")
	f.DurationVar(&l.LivezGracePeriod, "livez-grace-period", l.LivezGracePeriod, "how long after the start /livez forgives what is not complete yet")
	f.DurationVar(&l.ShutdownDelay, "shutdown-delay-duration", l.ShutdownDelay, "how long a stopping server still serves while /readyz fails")
	f.BoolVar(&l.ShutdownRetryAfter, "shutdown-send-retry-after", l.ShutdownRetryAfter, "after that, answer 429 with Retry-After until running requests have ended")
	f.DurationVar(&l.ShutdownWatchGrace, "shutdown-watch-termination-grace-period", l.ShutdownWatchGrace, "how long a stopping server waits for watches that it ends one after the other")
	p := &s.Profiling
	f.BoolVar(&p.Enabled, "profiling", p.Enabled, "serve profiles at /debug/pprof/")
	f.BoolVar(&p.Contention, "contention-profiling", p.Contention, "profile where goroutines block as well")
	f.StringVar(&p.Socket, "debug-socket-path", p.Socket, "Unix socket that serves profiles without authentication")
}
